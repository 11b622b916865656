import { writeSync } from 'node:fs'
import { poll } from '../wait.ts'

/** How soon a terminal that was full is tried again. */
const FULL_MS = 2

/** The master of a pseudo-terminal. */
export interface Master {
  /** Its file descriptor; one that does not block. */
  readonly fd: number
  /** From the very moment it is: the number may be another file's then. */
  readonly isClosed: boolean
}

/**
 * What is typed into a terminal, in order, as fast as its program reads. (node-pty's own queue writes
 * from threads and goes on when the terminal is closed: into whatever file has the number then. And it
 * is as busy as a core allows while a terminal is full.)
 */
export class Typing {
  readonly #master: Master
  #left: Uint8Array = new Uint8Array()
  #isFull = false

  constructor(master: Master) {
    this.#master = master
  }

  add(data: Uint8Array): void {
    this.#left = this.#left.length === 0 ? data : Buffer.concat([this.#left, data])
    if (this.#isFull || this.#type()) return
    this.#isFull = true
    void poll(() => this.#type() || undefined, { everyMs: FULL_MS })
  }

  /** What there has been no room for so far. It will not be typed. */
  takeBack(): Uint8Array {
    const left = this.#left
    this.#left = new Uint8Array()
    return left
  }

  /** Types what there is room for; whether that is all. */
  #type(): boolean {
    while (this.#left.length > 0 && !this.#master.isClosed) {
      const written = write(this.#master.fd, this.#left)
      if (written === 0) return false
      this.#left = this.#left.subarray(written)
    }
    this.takeBack()
    this.#isFull = false
    return true
  }
}

function write(fd: number, data: Uint8Array): number {
  try {
    return writeSync(fd, data)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EAGAIN') return 0
    if (code === 'EIO') return data.length // its program has ended
    throw error
  }
}
