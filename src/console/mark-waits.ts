import { type WaitOptions, waitFor } from '../wait.ts'
import type { Mark } from './marks.ts'

/** Those who wait for a mark of a shell. */
export class MarkWaits {
  readonly #listeners = new Set<(mark: Mark) => void>()

  hear(mark: Mark): void {
    for (const listener of [...this.#listeners]) listener(mark)
  }

  /** The next mark that is wanted. */
  async next(wanted: (mark: Mark) => boolean, options: WaitOptions): Promise<Mark> {
    const { promise, resolve } = Promise.withResolvers<Mark>()
    const listener = (mark: Mark) => void (wanted(mark) && resolve(mark))
    this.#listeners.add(listener)
    try {
      return await waitFor(promise, options)
    } finally {
      this.#listeners.delete(listener)
    }
  }
}
