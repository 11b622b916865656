/**
 * A terminal in cooked mode takes lines of up to 4095 bytes and swallows the rest without a word
 * (N_TTY in the kernel, MAX_CANON in termios(3)); well below that leaves room for quoting.
 */
const LONGEST_LINE = 2000
const MOST = 4095

const encoder = new TextEncoder()

/** Whether a terminal in cooked mode passes the text on as one line, byte for byte. */
export function isPlainLine(text: string): boolean {
  return !/[\x00-\x08\x0a-\x1f\x7f]/.test(text) && encoder.encode(text).length <= LONGEST_LINE
}

/** Whether a program that reads from a terminal in cooked mode would get less than all of it. */
export function isCutOff(text: string): boolean {
  return text.split('\n').some((line) => encoder.encode(line).length > MOST)
}

/** `text` as words of bash that stand one behind another, each of them short enough for a line. */
export function pieces(text: string): string[] {
  const all: string[] = []
  let piece = ''
  for (const character of text) {
    piece += quoted(character)
    if (piece.length * 4 > LONGEST_LINE) {
      all.push(`$'${piece}'`)
      piece = ''
    }
  }
  if (piece !== '') all.push(`$'${piece}'`)
  return all
}

/** `text` as one word of bash in which no control character is left. */
export function dollarQuote(text: string): string {
  return `$'${[...text].map(quoted).join('')}'`
}

function quoted(character: string): string {
  if (character === '\\' || character === "'") return `\\${character}`
  if (character === '\n') return '\\n'
  const code = character.charCodeAt(0)
  return code < 0x20 || code === 0x7f ? `\\x${code.toString(16).padStart(2, '0')}` : character
}

/** `text` as one word of a POSIX shell. */
export function shellQuote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/**
 * How a terminal may repeat a line that is typed: each control character as it is or, with ECHOCTL
 * (termios(3)), with a caret; the line's end too where lines are not put together (-icanon).
 */
export function echoesOf(line: string): string[] {
  const caret = (character: string) => `^${String.fromCharCode(character.charCodeAt(0) ^ 0x40)}`
  const [shown, raw] = [/[\x00-\x08\x0b-\x1f\x7f]/g, /[\x00-\x08\x0a-\x1f\x7f]/g]
  return [...new Set([line, line.replace(shown, caret), line.replace(raw, caret)])]
}
