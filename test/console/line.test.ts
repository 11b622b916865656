import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { isPlainLine, shellLines, shellQuote } from '../../src/console/line.ts'

describe('a line that a terminal passes on as it is', () => {
  test.each([
    ['ls -l', true],
    ['', true],
    ['a\tb', true],
    ['žluť 🐧', true],
    ['a\nb', false],
    ['a\x03b', false],
    ['a\x7fb', false],
    ['x'.repeat(2000), true],
    ['x'.repeat(2001), false],
    ['é'.repeat(1000), true],
    ['é'.repeat(1001), false],
  ])('%j: %j', (text, wanted) => {
    expect(isPlainLine(text)).toBe(wanted)
  })
})

const COMMANDS: [string, string][] = [
  ['several lines', 'echo a\necho "b\nc"\n'],
  ['a here-document', 'cat <<EOF\n$((6*7)) `echo x`\nEOF'],
  ['quotes', `printf '%s\\n' "it's" '"' \\' '\\\\'\necho`],
  ['control characters', "printf %s 'a\x01\x03\x04\x15\x1b\x7f\r' | od -An -c\n"],
  ['something like an escape', "printf %s '\\x41\\n\x01' 'f'"],
  ['a hexadecimal digit behind a control character', "printf %s '\x01a\x02f\x7f0' | od -An -tx1"],
  ['several scripts', 'echo žluť 漢字 🐧\n'],
  [
    'two thousand and more',
    `printf %s '${"abc 'q' \\ ".replaceAll("'", '"').repeat(900)}' | md5sum`,
  ],
  ['long, of characters of four bytes', `printf %s '${'🐧'.repeat(3000)}' | md5sum`],
  ['long, with an exclamation mark and a dollar', `printf %s '${'!$x`'.repeat(2000)}' | md5sum`],
  ['exactly at a cut', `: ${'x'.repeat(5000)}; echo end`],
]

describe('the lines to type', () => {
  test('of a plain command are the command', () => {
    expect(shellLines('ls -l')).toEqual(['ls -l\n'])
    expect(shellLines('')).toEqual(['\n'])
  })

  test.each(COMMANDS)('of %s make bash run the command itself', (_, command) => {
    const lines = shellLines(command)
    const run = (script: string) => execFileSync('bash', ['--norc'], { input: script }).toString()
    expect(run(lines.join(''))).toBe(execFileSync('bash', ['-c', command]).toString())
  })

  test.each(COMMANDS)(
    'of %s fit in a cooked terminal, all but the last unfinished',
    (_, command) => {
      const lines = shellLines(command)
      for (const [i, line] of lines.entries()) {
        expect(Buffer.byteLength(line)).toBeLessThan(4000)
        expect(line.slice(0, -1)).not.toMatch(/[\x00-\x1f\x7f]/)
        expect(line.endsWith('\\\n')).toBe(i < lines.length - 1)
        expect(line.endsWith('\n')).toBe(true)
      }
    },
  )
})

test.each([
  'plain',
  '/a/b-c.d',
  'a b',
  "it's",
  '',
  '$HOME',
  '*',
  'a\nb',
  '"',
  '\\',
  '~',
  '-n',
  'é',
  '!x',
])('%j is one word of a shell when quoted', (text) => {
  const shown = execFileSync('sh', ['-c', `printf '<%s>' ${shellQuote(text)}`])
  expect(shown.toString()).toBe(`<${text}>`)
})
