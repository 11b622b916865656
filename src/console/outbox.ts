/** What is written to a stream, or kept back for a while. */
export class Outbox<T> {
  #write: (data: T) => void
  #kept: T[] | undefined

  constructor(write: (data: T) => void) {
    this.#write = write
  }

  write(data: T): void {
    if (this.#kept) this.#kept.push(data)
    else this.#write(data)
  }

  /** Keeps back what is written from now on. */
  hold(): void {
    this.#kept ??= []
  }

  /** Writes what was kept back, behind `first`. */
  release(...first: T[]): void {
    const all = [...first, ...(this.#kept ?? [])]
    this.#kept = undefined
    for (const data of all) this.#write(data)
  }

  moveTo(write: (data: T) => void): void {
    this.#write = write
  }
}
