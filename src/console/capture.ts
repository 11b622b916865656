import { Matcher, type Pattern } from './pattern.ts'

/** What a step prints, from the moment it is typed, and where in it the expected text ends. */
export class Capture {
  readonly #pattern: Pattern
  /** What came so far, while it may still be the echo of the command. */
  #echoed = ''
  #echo = ''
  #matcher: Matcher | undefined
  #pieces: string[] = []
  #matchedFrom: number | undefined
  #matchedAt: number | undefined

  /**
   * @param pattern `''` where nothing is expected
   * @param echo what the terminal may repeat first, which is neither output nor a match
   */
  constructor(pattern: Pattern, { echo = '' }: { echo?: string } = {}) {
    this.#pattern = pattern
    this.#echo = echo
    this.clear()
  }

  get matched(): boolean {
    return this.#matchedAt !== undefined
  }

  /** Forgets what came so far: it belonged to an earlier step. */
  clear(): void {
    this.#pieces = []
    this.#matcher = this.#pattern === '' ? undefined : new Matcher(this.#pattern)
    this.#matchedFrom = undefined
    this.#matchedAt = undefined
  }

  push(text: string): void {
    this.#echoed += text
    const isShort = this.#echoed.length < this.#echo.length
    if (isShort && this.#echo.startsWith(this.#echoed)) return
    const isEcho = this.#echoed.startsWith(this.#echo)
    const rest = isEcho ? this.#echoed.slice(this.#echo.length) : this.#echoed
    this.#echo = ''
    this.#echoed = ''
    if (rest !== '') this.#take(rest)
  }

  #take(text: string): void {
    this.#pieces.push(text)
    if (this.matched) return
    const match = this.#matcher?.push(text)
    this.#matchedFrom = match?.from
    this.#matchedAt = match?.to
  }

  /** All that was printed. */
  get printed(): string {
    return this.#pieces.join('')
  }

  /** What was printed before the match. */
  get before(): string {
    return this.#pieces.join('').slice(0, this.#matchedFrom)
  }

  /** What was printed, up to and including the match. */
  get text(): string {
    return this.#pieces.join('').slice(0, this.#matchedAt)
  }
}

/** `output` without the line in which a program that does its own echo repeats the command. */
export function withoutEcho(output: string, command: string): string {
  return output.startsWith(`${command}\n`) ? output.slice(command.length + 1) : output
}
