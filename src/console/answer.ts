import type { TextSource } from './console.ts'
import { describePattern, Matcher, type Pattern } from './pattern.ts'
import { afterEcho, CutPrompt, CutPromptMatcher } from './prompt.ts'

/** A program's output between a typed line and its next prompt. */
export class Answer {
  readonly #line: string
  readonly #isCut: boolean
  readonly #matcher: Matcher | CutPromptMatcher | undefined
  readonly #prompted = Promise.withResolvers<void>()
  /** Output that may still be the echo of the line. */
  #echoed: string | undefined
  #text = ''
  #stderr = ''
  #isKept = true
  #promptAt: number | undefined

  /**
   * @param prompt `''` where the program has none
   * @param line what was typed, which the terminal may repeat; `''` before anything was
   */
  constructor(prompt: Pattern | CutPrompt, line = '') {
    this.#line = line
    this.#isCut = prompt instanceof CutPrompt
    if (prompt instanceof CutPrompt) this.#matcher = new CutPromptMatcher(prompt)
    else {
      if (prompt !== '') this.#matcher = new Matcher(prompt)
      if (line !== '') this.#echoed = ''
    }
  }

  push(text: string, source: TextSource): void {
    if (this.isPrompted) return
    if (source === 'stderr') {
      if (this.#isKept) this.#stderr += text
    } else this.#take(this.#echoed === undefined ? text : this.#withoutEcho(text))
  }

  /** Keeps nothing of it from now on, and goes on looking for the prompt. */
  forget(): void {
    this.#isKept = false
    this.#text = ''
    this.#stderr = ''
  }

  /** Resolves when the prompt is there. */
  get prompted(): Promise<void> {
    return this.#prompted.promise
  }

  get isPrompted(): boolean {
    return this.#promptAt !== undefined
  }

  /** Text of the terminal, without echo and prompt. */
  get output(): string {
    const before = this.#text.slice(0, this.#promptAt)
    return this.#isCut ? afterEcho(before, this.#line) : before
  }

  get stderr(): string {
    return this.#stderr
  }

  #take(text: string): void {
    if (text === '') return
    if (this.#isKept) this.#text += text
    this.#promptAt = this.#matcher?.push(text)?.from
    if (this.isPrompted) this.#prompted.resolve()
  }

  #withoutEcho(text: string): string {
    const echo = `${this.#line}\n`
    const all = this.#echoed + text
    if (all.length < echo.length && echo.startsWith(all)) {
      this.#echoed = all
      return ''
    }
    this.#echoed = undefined
    return all.startsWith(echo) ? all.slice(echo.length) : all
  }
}

/** A prompt as it stands in a message. */
export function describePrompt(prompt: Pattern | CutPrompt): string {
  return prompt instanceof CutPrompt ? prompt.name : describePattern(prompt)
}
