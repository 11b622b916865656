export interface AccountState {
  running: boolean
  awaited: boolean
  doubtful: number
  probing: boolean
}

/**
 * Whose turn a console is: the shell's, or that of a program the shell runs.
 *
 * A line typed at a prompt is the shell's, and a mark tells its end. A line typed after an expected text
 * was seen may be read by the program that printed it or, if that has just ended, by the shell: such a
 * line is *in doubt*, and no mark tells its end. Text that comes when the shell is back tells that it
 * runs such a line, for a shell that waits prints nothing (one that does print is told apart). Where
 * nothing comes a *probe* is typed: the terminal passes lines on in order, so the probe's mark says that
 * everything typed before it has been read.
 */
export class PromptAccount {
  #running = true
  /** A mark is to come by itself. */
  #awaited = true
  #doubtful = 0
  #probing = false

  /** The shell waits for a line, and has read all that was typed. */
  get atPrompt(): boolean {
    return !this.#running && this.#doubtful === 0
  }

  /** The shell was back, but lines in doubt may still be on their way to it. */
  get inDoubt(): boolean {
    return !this.#running && this.#doubtful > 0
  }

  /** A program has the console, or the shell has not said yet that it is back. */
  get running(): boolean {
    return this.#running
  }

  /** A line of the shell's is under way, whose end will be told. */
  get awaited(): boolean {
    return this.#awaited
  }

  get probing(): boolean {
    return this.#probing
  }

  /** What it knows, for {@link restore}. */
  save(): AccountState {
    return {
      ...{ running: this.#running, awaited: this.#awaited },
      ...{ doubtful: this.#doubtful, probing: this.#probing },
    }
  }

  /** The machine with the shell is what it was when that was saved. */
  restore({ running, awaited, doubtful, probing }: AccountState): void {
    this.#running = running
    this.#awaited = awaited
    this.#doubtful = doubtful
    this.#probing = probing
  }

  /** A new shell, which has not said that it is there. */
  restart(): void {
    this.restore({ running: true, awaited: true, doubtful: 0, probing: false })
  }

  /** A line that says its end. */
  typed(): void {
    this.#running = true
    this.#awaited = true
  }

  /** A line that says nothing. */
  typedPlain(): void {
    this.#doubtful += 1
  }

  probed(): void {
    this.#probing = true
  }

  text({ isNoisy }: { isNoisy: boolean }): void {
    if (!this.inDoubt || this.#probing || isNoisy) return
    this.#running = true
    this.#doubtful -= 1
  }

  prompt({ isAnswer }: { isAnswer: boolean }): void {
    this.#running = false
    this.#awaited = false
    if (!isAnswer) return
    this.#doubtful = 0
    this.#probing = false
  }
}
