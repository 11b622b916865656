import { UsageError } from '../errors.ts'

/**
 * The words of a command line as a shell would split it: by blanks, but for quotes and backslashes.
 * Nothing is expanded.
 *
 * @throws UsageError where a quote is not closed
 */
export function shellWords(what: string, text: string): string[] {
  const word = /(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+/gy
  const words: string[] = []
  let at = 0
  for (;;) {
    at += /^\s*/.exec(text.slice(at))?.[0].length ?? 0
    if (at >= text.length) return words
    word.lastIndex = at
    const [found] = word.exec(text) ?? []
    if (found === undefined) {
      throw new UsageError(`${what}: a quote is not closed: ${text.slice(at)}`)
    }
    words.push(found.replace(/\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)"/g, unquote))
    at += found.length
  }
}

function unquote(_: string, escaped?: string, single?: string, double?: string): string {
  return escaped ?? single ?? (double ?? '').replace(/\\(["\\$`])/g, '$1')
}
