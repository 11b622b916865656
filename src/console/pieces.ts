/** A console gives 16 bytes at a time: as many pieces become one string. */
const PIECES = 4096
const BLOCK = 2 ** 20

/** Text that comes in small pieces, kept in few strings: one that grows piece by piece takes five times as much. */
export class Pieces {
  #blocks: string[] = []
  #open: string[] = []
  /** Characters of the pieces that are in no block. */
  #openLength = 0
  #length = 0

  /** Characters. */
  get length(): number {
    return this.#length
  }

  get text(): string {
    if (this.#open.length > 0 || this.#blocks.length > 1) {
      this.#blocks = [[...this.#blocks, ...this.#open].join('')]
      this.#open = []
      this.#openLength = 0
    }
    return this.#blocks[0] ?? ''
  }

  push(text: string): void {
    this.#open.push(text)
    this.#openLength += text.length
    this.#length += text.length
    if (this.#open.length < PIECES && this.#openLength < BLOCK) return
    this.#blocks.push(this.#open.join(''))
    this.#open = []
    this.#openLength = 0
  }

  /** Forgets all but the last `count` characters. */
  keep(count: number): void {
    const text = this.text.slice(-count)
    this.clear()
    this.push(text)
  }

  clear(): void {
    this.#blocks = []
    this.#open = []
    this.#openLength = 0
    this.#length = 0
  }
}
