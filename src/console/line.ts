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

/**
 * The lines to type into bash so that it runs `command` as one, whatever is in it: newlines, control
 * characters that the terminal would act on, any length. All but the last line are unfinished, so
 * bash answers each of them with its continuation prompt, which serves as flow control.
 */
export function shellLines(command: string): string[] {
  if (isPlainLine(command)) return [`${command}\n`]
  const pieces: string[] = []
  let piece = ''
  for (const character of command) {
    piece += quoted(character)
    if (piece.length * 4 > LONGEST_LINE) {
      pieces.push(piece)
      piece = ''
    }
  }
  if (piece !== '') pieces.push(piece)
  return pieces.map((text, i) => {
    const start = i === 0 ? 'eval ' : ''
    return `${start}$'${text}'${i === pieces.length - 1 ? '\n' : '\\\n'}`
  })
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
