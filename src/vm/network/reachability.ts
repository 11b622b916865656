/** Who heard whom, of ports with numbers. */
export class Hearing {
  readonly #heard = new Map<number, Set<number>>()
  readonly #together: readonly (readonly number[])[]

  /** @param together ports that are to hear each other, by what was configured; each port in one list */
  constructor(together: readonly (readonly number[])[]) {
    this.#together = together
    for (const id of together.flat()) this.#heard.set(id, new Set())
  }

  /** What `from` sent has come to `at`. */
  note(at: number, from: number): void {
    this.#heard.get(at)?.add(from)
  }

  hears(at: number, from: number): boolean {
    return this.#heard.get(at)?.has(from) ?? false
  }

  /**
   * Whether nothing seems to be missing: those that are to hear each other do, and whoever is heard hears
   * all others that are.
   *
   * @param mayBeAlone whether nobody needs to hear a port
   */
  isWhole(mayBeAlone: (id: number) => boolean): boolean {
    const ids = [...this.#heard.keys()]
    const isRight = (id: number) => {
      const near = this.#near(id)
      return (
        (near.size > 1 || mayBeAlone(id)) &&
        [...near].every((other) => isSame(this.#near(other), near))
      )
    }
    const isMet = (list: readonly number[]) =>
      list.every((a) => list.every((b) => a === b || this.hears(a, b)))
    return ids.every(isRight) && this.#together.every(isMet)
  }

  /** All that it hears, and itself. */
  #near(id: number): Set<number> {
    return new Set([id, ...(this.#heard.get(id) ?? [])])
  }
}

function isSame(a: ReadonlySet<number>, b: ReadonlySet<number>): boolean {
  return a.size === b.size && [...a].every((one) => b.has(one))
}
