export interface AccountState {
  running: boolean
  doubtful: number
  probing: boolean
}

/**
 * Whose turn a console is: the shell's, or that of a program the shell runs.
 *
 * A line typed at a prompt is the shell's. A line typed after an expected text was seen may be read by
 * the program that printed it or, if that has just ended, by the shell: such a line is *in doubt*. The
 * next prompt tells nothing: it may be the end of the program that read the line, or have been printed
 * just before the shell reads it. Text that comes behind that prompt tells that the shell runs the
 * line, for a shell that waits prints nothing. Where nothing comes a *probe* is typed: the terminal
 * passes lines on in order, so the probe's own prompt says that everything typed before it has been
 * read.
 */
export class PromptAccount {
  #running = true
  #doubtful = 0
  #probing = false

  /** The shell waits for a line, and has read all that was typed. */
  get atPrompt(): boolean {
    return !this.#running && this.#doubtful === 0
  }

  /** The shell has printed a prompt, but lines in doubt may still be on their way to it. */
  get inDoubt(): boolean {
    return !this.#running && this.#doubtful > 0
  }

  /** Whether a program has the console, or the shell has not said yet that it is back. */
  get running(): boolean {
    return this.#running
  }

  get probing(): boolean {
    return this.#probing
  }

  /** What it knows, for {@link restore}. */
  save(): AccountState {
    return { running: this.#running, doubtful: this.#doubtful, probing: this.#probing }
  }

  /** The machine with the shell is what it was when that was saved. */
  restore({ running, doubtful, probing }: AccountState): void {
    this.#running = running
    this.#doubtful = doubtful
    this.#probing = probing
  }

  /** A new shell, which has not printed its first prompt. */
  restart(): void {
    this.#running = true
    this.#doubtful = 0
    this.#probing = false
  }

  typed(): void {
    if (this.atPrompt) this.#running = true
    else this.#doubtful += 1
  }

  probed(): void {
    this.#probing = true
  }

  text(): void {
    if (!this.inDoubt || this.#probing) return
    this.#running = true
    this.#doubtful -= 1
  }

  prompt({ isAnswer }: { isAnswer: boolean }): void {
    this.#running = false
    if (!isAnswer) return
    this.#doubtful = 0
    this.#probing = false
  }
}
