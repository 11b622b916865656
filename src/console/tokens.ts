import type { Mark, MarkReader } from './marks.ts'
import { RS } from './marks.ts'

export type Token = { text: string } | { mark: Mark }

// ECMA-48: CSI sequences, OSC strings (xterm's titles), and the two-byte escapes. Another escape cuts
// an unfinished one short.
const ESCAPE = new RegExp(
  [
    '\\x1b\\[[0-?]*[ -/]*[@-~]',
    '\\x1b\\][^\\x07\\x1b]*(?:\\x07|\\x1b\\\\|(?=\\x1b[^\\\\]))',
    '\\x1b[ -/]*[0-Z\\\\^-~]',
    '\\x1b(?:\\[[0-?]*)?[ -/]*(?=\\x1b)',
  ].join('|'),
  'g',
)
// Looking behind keeps a long run of carriage returns from being looked at once for each of them.
const UNFINISHED = /(?<!\r)(?:\r+|\r*\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,1000}\x1b?|[ -/]*)?)$/
const LINE_END = /(?<!\r)\r+\n/g

/**
 * Turns a console's bytes into text and marks. UTF-8, escape sequences, line ends and marks that are
 * cut by a read are kept until the rest comes. Escape sequences are dropped and `\r\n` becomes `\n`.
 */
export class Tokenizer {
  readonly #marks: MarkReader
  readonly #decoder = new TextDecoder('utf-8')
  #kept = ''
  /** The newline behind a banner or a short mark belongs to it, and may come with the next read. */
  #lineEnds = false

  constructor(marks: MarkReader) {
    this.#marks = marks
  }

  push(data: Uint8Array): Token[] {
    const all = this.#kept + this.#decoder.decode(data, { stream: true })
    this.#kept = ''
    let rest = this.#behindMark(all)
    const tokens: Token[] = []
    for (let at = rest.indexOf(RS); at !== -1; at = rest.indexOf(RS, at)) {
      const end = rest.indexOf(RS, at + 1)
      const body = rest.slice(at + 1, end === -1 ? undefined : end)
      if (end === -1) {
        if (!this.#marks.couldBecome(body)) break
        this.#addText(tokens, rest.slice(0, at), false)
        this.#kept += rest.slice(at)
        return tokens
      }
      const mark = this.#marks.read(body)
      if (mark === undefined) {
        at += 1 // an RS of the program's own: output; the one behind it may begin a mark
        continue
      }
      this.#addText(tokens, rest.slice(0, at), true)
      tokens.push({ mark })
      this.#lineEnds = mark.kind === 'banner' || (mark.kind === 'prompt' && !mark.facts)
      rest = this.#behindMark(rest.slice(end + 1))
      at = 0
    }
    if (rest !== '') this.#addText(tokens, rest, false)
    return tokens
  }

  #behindMark(text: string): string {
    if (!this.#lineEnds || text === '') return text
    if (/^\r+$/.test(text)) {
      this.#kept = text
      return ''
    }
    this.#lineEnds = false
    return text.replace(/^\r*\n/, '')
  }

  /** @param complete nothing that follows can belong to this text */
  #addText(tokens: Token[], raw: string, complete: boolean): void {
    let text = raw.includes('\x1b') ? raw.replace(ESCAPE, '') : raw
    if (!complete) {
      const cut = UNFINISHED.exec(text)?.index ?? text.length
      this.#kept = text.slice(cut)
      text = text.slice(0, cut)
    }
    if (text.includes('\r')) text = text.replaceAll(LINE_END, '\n')
    if (text !== '') tokens.push({ text })
  }
}
