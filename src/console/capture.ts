import { type DutErrorDetails, GuestError } from '../errors.ts'
import { formatSize } from '../format.ts'
import { echoesOf } from './line.ts'
import { Matcher, type Pattern } from './pattern.ts'
import { Pieces } from './pieces.ts'

/** Characters that a step may print. */
export const MOST_PRINTED = 64 * 2 ** 20
/** Characters that are left of a step that printed more. */
const KEPT = 2 ** 20

/** What a step prints, from the moment it is typed, and where in it the expected text ends. */
export class Capture {
  readonly #pattern: Pattern
  readonly #onOver: () => void
  readonly #output = new Pieces()
  /** The line that the terminal may repeat first; `''` once that is known. */
  #echo = ''
  /** All text so far, while it may still be that line. */
  #echoed = ''
  #isEchoed = false
  #matcher: Matcher | undefined
  #matchedFrom: number | undefined
  #matchedAt: number | undefined

  /**
   * @param pattern `''` where nothing is expected
   * @param echo what the terminal may repeat first, which is neither output nor a match
   * @param onOver called when more was printed than is kept; then only the end is
   */
  constructor(
    pattern: Pattern,
    { echo = '', onOver = () => {} }: { echo?: string; onOver?: () => void } = {},
  ) {
    this.#pattern = pattern
    this.#onOver = onOver
    this.clear({ echo })
  }

  get matched(): boolean {
    return this.#matchedAt !== undefined
  }

  /** The echo of the line that was typed has come. */
  get isEchoed(): boolean {
    return this.#isEchoed
  }

  /** Forgets what came so far: it belonged to an earlier step. */
  clear({ echo = '' }: { echo?: string } = {}): void {
    this.#echo = echo
    this.#echoed = ''
    this.#isEchoed = false
    this.#output.clear()
    this.#matcher = this.#pattern === '' ? undefined : new Matcher(this.#pattern)
    this.#matchedFrom = undefined
    this.#matchedAt = undefined
  }

  push(text: string): void {
    if (this.#echo === '') {
      this.#take(text)
      return
    }
    this.#echoed += text
    const echoed = this.#echoed
    const echoes = echoesOf(this.#echo)
    if (echoes.some((echo) => echoed.length < echo.length && echo.startsWith(echoed))) return
    const echo = echoes.find((one) => echoed.startsWith(one))
    this.#isEchoed = echo !== undefined
    this.#echo = ''
    this.#echoed = ''
    this.#take(echoed.slice(echo?.length ?? 0))
  }

  #take(text: string): void {
    if (text === '') return
    this.#keep(text)
    if (this.matched) return
    const match = this.#matcher?.push(text)
    this.#matchedFrom = match?.from
    this.#matchedAt = match?.to
  }

  #keep(text: string): void {
    this.#output.push(text)
    if (this.#output.length <= MOST_PRINTED) return
    this.#output.keep(KEPT)
    this.#onOver()
  }

  /** All that was printed. */
  get printed(): string {
    return this.#output.text + this.#echoed
  }

  /** What was printed before the match. */
  get before(): string {
    return this.printed.slice(0, this.#matchedFrom)
  }

  /** What was printed, up to and including the match. */
  get text(): string {
    return this.printed.slice(0, this.#matchedAt)
  }
}

/** `output` without the line in which a program that does its own echo repeats the command. */
export function withoutEcho(output: string, command: string): string {
  return output.startsWith(`${command}\n`) ? output.slice(command.length + 1) : output
}

/** The error of a step that printed more than {@link MOST_PRINTED}. */
export function tooMuchError(name: string, details: DutErrorDetails): GuestError {
  const size = formatSize(MOST_PRINTED)
  return new GuestError(`${name} printed more than ${size}, which is the most for a step`, {
    ...details,
    hint: "send the output to a file there, or take exec with { stdout: { file: 'out.log' } }",
  })
}
