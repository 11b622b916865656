/**
 * The prompt of a program whose threads print lines at any moment: such a line may stand between any two
 * of its characters, and of those of the echo.
 */
export class CutPrompt {
  readonly text: string
  /** For messages, e.g. `testpmd's prompt`. */
  readonly name: string

  constructor(text: string, name: string) {
    this.text = text
    this.name = name
  }
}

/** Part of the prompt was there: where it began, and whether a line did. */
interface Begun {
  from: number
  atLineStart: boolean
}

/**
 * Looks for such a prompt in text that comes piece by piece. What other threads print are whole lines, so
 * each further part of a prompt begins a line, and the first one begins a line or ends it.
 */
export class CutPromptMatcher {
  readonly #prompt: string
  /** The line that has not ended, and where it began. */
  #line = ''
  #lineAt = 0
  /** How much of the prompt may be there behind the last whole line. */
  #begun = new Map<number, Begun>()

  constructor({ text }: CutPrompt) {
    this.#prompt = text
  }

  /** Finds the first match; `from` and `to` count from the first text ever pushed. */
  push(text: string): { from: number; to: number } | undefined {
    const lines = text.split('\n')
    for (const [i, piece] of lines.entries()) {
      this.#line += piece
      const found = this.#find()
      if (found !== undefined) return found
      if (i < lines.length - 1) this.#endLine()
    }
    return undefined
  }

  #find(): { from: number; to: number } | undefined {
    const [prompt, line, at] = [this.#prompt, this.#line, this.#lineAt]
    const whole = line.indexOf(prompt)
    if (whole !== -1) return { from: at + whole, to: at + whole + prompt.length }
    for (const [length, { from }] of this.#begun) {
      const rest = prompt.length - length
      if (line.startsWith(prompt.slice(length))) return { from, to: at + rest }
    }
    return undefined
  }

  #endLine(): void {
    const [line, from] = [this.#line, this.#lineAt]
    const begun = new Map(this.#begun)
    const add = (length: number, start: Begun) => {
      const before = begun.get(length)
      if (before?.atLineStart && !start.atLineStart) return
      if (before === undefined || before.from < start.from) begun.set(length, start)
    }
    for (let length = 1; length < this.#prompt.length; length++) {
      const part = this.#prompt.slice(0, length)
      if (line.startsWith(part)) add(length, { from, atLineStart: true })
      else if (line.endsWith(part)) {
        add(length, { from: from + line.length - length, atLineStart: false })
      }
    }
    for (const [length, start] of this.#begun) {
      for (let more = 1; length + more < this.#prompt.length; more++) {
        if (!line.startsWith(this.#prompt.slice(length, length + more))) break
        add(length + more, start)
      }
    }
    this.#begun = begun
    this.#lineAt += line.length + 1
    this.#line = ''
  }
}

/**
 * `text` without the echo of the typed `line` that it begins with, and the lines that stand in that. A
 * program that has only just shown its prompt may not have taken the terminal's own echo from it yet: what
 * is typed then comes twice.
 */
export function afterEcho(text: string, line: string): string {
  const rest = afterOneEcho(text, line)
  return rest.startsWith(`${line}\n`) ? rest.slice(line.length + 1) : rest
}

function afterOneEcho(text: string, line: string): string {
  let at = 0
  /** How many characters of the echo may be there in the lines before `at`. */
  let echoed = new Set([0])
  for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', at)) {
    const piece = text.slice(at, end)
    at = end + 1
    const next = new Set(echoed)
    for (const count of echoed) {
      if (piece === line.slice(count)) return text.slice(at)
      let more = count
      while (more < line.length && line[more] === piece[more - count]) next.add(++more)
    }
    echoed = next
  }
  return text
}
