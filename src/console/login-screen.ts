import type { Pattern } from './pattern.ts'

/** Characters of the past that a decision may need. */
const REMEMBERED = 8192

/**
 * Lines of the kernel and of systemd. They are written whole, into whatever else is being written: behind
 * a prompt, or into the middle of it.
 */
const FOREIGN =
  /\[ *\d+\.\d{6}\][^\n]*\n|\[ *(?:OK|FAILED|DEPEND|WARN|INFO|SKIP|TIME) *\][^\n]*\n| {9}[A-Z][^\n]*\n/g

/** The part of a terminal's text that matters while somebody logs in: its end, with the cursor. */
export class LoginScreen {
  #raw = ''
  #text = ''

  /** Adds what was printed; whether that changes anything but by lines of the kernel and of systemd. */
  push(text: string): boolean {
    const before = this.#text
    this.#raw = (this.#raw + text).slice(-REMEMBERED)
    this.#text = this.#raw.replaceAll(FOREIGN, '')
    return this.#text !== before
  }

  clear(): void {
    this.set('')
  }

  set(text: string): void {
    this.#raw = text
    this.#text = text
  }

  get text(): string {
    return this.#text
  }

  /** The cursor stands behind it. */
  get line(): string {
    return shown(this.#text.slice(this.#text.lastIndexOf('\n') + 1))
  }

  get isBlank(): boolean {
    return this.line.trim() === ''
  }

  /** Those that are not blank. */
  get lines(): string[] {
    const lines = this.#text.split('\n').map((line) => shown(line).trim())
    return lines.filter((line) => line !== '')
  }

  /** Matches a pattern of the user's own, up to or within the cursor's line. */
  shows(pattern: Pattern): boolean {
    if (typeof pattern === 'string') return this.line.trimEnd().endsWith(pattern.trimEnd())
    if (new RegExp(pattern.source, pattern.flags.replaceAll(/[gy]/g, '')).test(this.line))
      return true
    const flags = `${pattern.flags.replaceAll(/[gy]/g, '')}g`
    const start = this.#text.lastIndexOf('\n') + 1
    const matches = this.#text.matchAll(new RegExp(pattern.source, flags))
    return [...matches].some(({ index, 0: { length } }) => length > 0 && index + length > start)
  }
}

/** A line without what a terminal does not show: what was written over, and control characters. */
function shown(line: string): string {
  const written = line.split('\r').findLast((part) => part.trim() !== '') ?? ''
  return written.replaceAll(/[\x00-\x08\x0b-\x1f\x7f]/g, '')
}
