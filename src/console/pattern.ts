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
    // A sticky or global expression would look at its lastIndex, which belongs to the caller.
    this.#pattern =
      typeof pattern === 'string'
        ? pattern
        : new RegExp(pattern.source, pattern.flags.replaceAll(/[gy]/g, ''))
    this.#span = typeof pattern === 'string' ? pattern.length - 1 : REGEXP_SPAN
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
    const match = this.#pattern.exec(this.#window)
    return match === null ? undefined : { at: match.index, length: match[0].length }
  }
}

/** A pattern as it stands in a message. */
export function describePattern(pattern: Pattern): string {
  return typeof pattern === 'string' ? JSON.stringify(pattern) : String(pattern)
}
