import { UsageError } from './errors.ts'

/**
 * Refuses what nobody knows, so that a misspelt option is never silently ignored.
 *
 * @param what names the options in the error, e.g. `vm0` or `vhostUser`
 * @throws UsageError naming the nearest right key
 */
export function checkKeys(what: string, options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new UsageError(`${what}: the options are not an object`)
  }
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue
    const nearest = nearestTo(key, known)
    throw new UsageError(`${what}: unknown option ${JSON.stringify(key)}`, {
      hint: nearest ? `did you mean ${JSON.stringify(nearest)}?` : `known are: ${known.join(', ')}`,
    })
  }
}

/** The known word that begins with this one, or else takes the fewest edits and is near enough. */
export function nearestTo(word: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((candidate) => ({
      candidate,
      edits: isShort(word.toLowerCase(), candidate.toLowerCase())
        ? 0
        : distance(word.toLowerCase(), candidate.toLowerCase()),
    }))
    .sort((a, b) => a.edits - b.edits)
  const best = ranked[0]
  return best && best.edits <= Math.max(2, word.length / 3) ? best.candidate : undefined
}

function isShort(word: string, candidate: string): boolean {
  return word.length >= 3 && candidate.startsWith(word)
}

/** Levenshtein's distance: single-character insertions, deletions and replacements. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1))
    }
    row = next
  }
  return row[b.length] as number
}

/** `value` as a whole number in a range. @throws UsageError otherwise */
export function checkInteger(what: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) {
    return value
  }
  throw new UsageError(
    `${what}: ${JSON.stringify(value)} is not a whole number from ${min} to ${max}`,
  )
}
