import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { dollarQuote, echoesOf, isPlainLine, pieces, shellQuote } from '../../src/console/line.ts'

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

test.each(["a'b\\n", 'x\ty\x01f', '\x7f0é🐧'.repeat(1000)])(
  '%j is words of bash in pieces',
  (text) => {
    const all = pieces(text)
    for (const piece of all) expect(Buffer.byteLength(piece)).toBeLessThan(2000)
    for (const words of [all.join(''), dollarQuote(text)]) {
      expect(words).not.toMatch(/[\x00-\x1f\x7f]/)
      expect(execFileSync('bash', ['-c', `printf %s ${words}`]).toString()).toBe(text)
    }
  },
)

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

test.each([
  ['a\n', ['a\n', 'a^J']],
  ['a\x1eb\n', ['a\x1eb\n', 'a^^b\n', 'a^^b^J']],
  ['a\tb\x7f', ['a\tb\x7f', 'a\tb^?']],
])('a terminal may repeat %j as %j', (line, shown) => {
  expect(echoesOf(line)).toEqual(shown)
})
