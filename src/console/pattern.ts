/** What a wait looks for: a literal string, or a regular expression. */
export type Pattern = string | RegExp

/** A regular expression's match may span this many characters, so that long output stays cheap. */
const REGEXP_SPAN = 64 * 1024

/** Looks for a pattern in text that comes piece by piece; a match may straddle pieces. */
export class Matcher {
  readonly #pattern: Pattern
  readonly #span: number
  #window = ''
  #windowAt = 0

  constructor(pattern: Pattern) {
    // A copy, for lastIndex belongs to the caller; global, so that lastIndex is looked at.
    this.#pattern =
      typeof pattern === 'string'
        ? pattern
        : new RegExp(pattern.source, `${pattern.flags.replaceAll(/[gy]/g, '')}g`)
    this.#span = typeof pattern === 'string' ? pattern.length - 1 : REGEXP_SPAN + 1
  }

  /** Where the first match begins and ends, counted from the first text ever pushed. */
  push(text: string): { from: number; to: number } | undefined {
    this.#window += text
    const found = this.#find()
    if (found !== undefined) {
      return { from: this.#windowAt + found.at, to: this.#windowAt + found.at + found.length }
    }
    const drop = Math.max(0, this.#window.length - this.#span)
    // A regular expression may look behind, so its window moves in large steps only.
    if (drop > (typeof this.#pattern === 'string' ? 0 : REGEXP_SPAN)) {
      this.#window = this.#window.slice(drop)
      this.#windowAt += drop
    }
    return undefined
  }

  #find(): { at: number; length: number } | undefined {
    if (typeof this.#pattern === 'string') {
      const at = this.#window.indexOf(this.#pattern)
      return at === -1 ? undefined : { at, length: this.#pattern.length }
    }
    // Once text was dropped the window's first character only stands before a match: the window does
    // not begin where the text does, so `^` must not match there.
    this.#pattern.lastIndex = this.#windowAt > 0 ? 1 : 0
    const match = this.#pattern.exec(this.#window)
    return match === null ? undefined : { at: match.index, length: match[0].length }
  }
}

/** A pattern as it stands in a message. */
export function describePattern(pattern: Pattern): string {
  return typeof pattern === 'string' ? JSON.stringify(pattern) : String(pattern)
}
