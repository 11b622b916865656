/**
 * How many times as long work takes when there is `times` as much of it, as a multiple of `times`:
 * about 1 where it grows in proportion. CPU time, and the best of several, because the machine has
 * other things to do.
 *
 * @param size of the smaller work: large enough for some milliseconds
 */
export function growth(work: (size: number) => void, { size, times = 8 }: Growth): number {
  const cost = (amount: number) => {
    const before = process.cpuUsage()
    work(amount)
    const { user, system } = process.cpuUsage(before)
    return user + system
  }
  const best = (amount: number) => Math.min(...[1, 2, 3].map(() => cost(amount)))
  cost(size)
  const small = Math.max(2000, best(size))
  return best(size * times) / small / times
}

interface Growth {
  size: number
  times?: number
}

/** More than this is more than noise; work that grows with the square would be at `times`. */
export const NOISE = 4
