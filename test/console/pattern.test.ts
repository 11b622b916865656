import { describe, expect, test } from 'vitest'
import { describePattern, Matcher, type Pattern } from '../../src/console/pattern.ts'
import { growth, NOISE } from '../support/growth.ts'

/** Where the first match is, when the text comes in these pieces. */
function find(pattern: Pattern, pieces: readonly string[]) {
  const matcher = new Matcher(pattern)
  for (const piece of pieces) {
    const found = matcher.push(piece)
    if (found) return found
  }
  return undefined
}

describe('a pattern', () => {
  test.each<[Pattern, string, { from: number; to: number } | undefined]>([
    ['login: ', 'host login: root login: ', { from: 5, to: 12 }],
    ['login:', 'no', undefined],
    ['a.c', 'abc a.c', { from: 4, to: 7 }],
    ['', 'x', { from: 0, to: 0 }],
    ['\n# ', 'a\n# ', { from: 1, to: 4 }],
    ['🐧', 'a🐧', { from: 1, to: 3 }],
    [/link (up|down)/, 'eth0: link up', { from: 6, to: 13 }],
    [/^b/m, 'a\nb', { from: 2, to: 3 }],
    [/^b/, 'a\nb', undefined],
    [/UP/i, 'link up', { from: 5, to: 7 }],
    [/(?<=: )\d/, 'x: 5', { from: 3, to: 4 }],
    [/./u, '🐧', { from: 0, to: 2 }],
  ])('%s in %j', (pattern, text, wanted) => {
    expect(find(pattern, [text])).toEqual(wanted)
  })

  test.each<[Pattern, string]>([
    ['prompt> ', 'a prompt prompt>prompt> b'],
    ['aab', 'aaab'],
    ['abcabd', 'abcabcabd'],
    ['x', 'aax'],
    [/port \d+: (up|down);/, 'port port 0: port 1: down; port 2: up;'],
    [/(?<=\n)done\n/, 'undone\ndone\n'],
    [/^end$\n/m, 'the end\nend\n'],
    [/a[\s\S]*z/, 'b a\n\n z'],
  ])('%s is found in %j however it is cut', (pattern, text) => {
    const wanted = find(pattern, [text])
    expect(wanted).toBeDefined()
    for (let at = 0; at <= text.length; at++) {
      expect(find(pattern, [text.slice(0, at), text.slice(at)]), `cut at ${at}`).toEqual(wanted)
    }
    expect(find(pattern, [...text])).toEqual(wanted)
  })

  test('that is global or sticky is neither, and its own lastIndex is left alone', () => {
    const pattern = /b/gy
    pattern.lastIndex = 1
    expect(find(pattern, ['aab'])).toEqual({ from: 2, to: 3 })
    expect(find(pattern, ['b'])).toEqual({ from: 0, to: 1 })
    expect(pattern.lastIndex).toBe(1)
  })
})

describe('far into a long text', () => {
  const filler = `${'x'.repeat(999)}\n`

  test.each<[string, Pattern]>([
    ['a string', 'done> '],
    ['a regular expression', /done> /],
    ['a regular expression that looks behind', /(?<=\n)done> /],
    ['a line’s beginning', /^done> /m],
  ])('%s is found at the right place', (_, pattern) => {
    const pieces = [...Array<string>(1000).fill(filler), 'do', 'ne> ']
    expect(find(pattern, pieces)).toEqual({ from: 1_000_000, to: 1_000_006 })
  })

  test.each([64 * 1024, 64 * 1024 - 1, 1000])('a match of %d characters is found', (length) => {
    const body = 'y'.repeat(length - 2)
    // Wherever the window of what is remembered happens to be moved.
    for (let from = 300_000; from < 370_000; from += 3000) {
      const text = `${'x'.repeat(from)}<${body}>`
      const pieces = text.match(/.{1,1013}/g) ?? []
      expect(find(/<y*>/, pieces), `at ${from}`).toEqual({ from, to: from + length })
    }
  })

  test('the beginning of the text is not found again', () => {
    const pieces = Array<string>(400).fill('x'.repeat(1000))
    for (const pattern of [/^x/, /(?<![\s\S])x/, /(?<!x|-)x/]) {
      expect(find(pattern, ['-', ...pieces])).toBeUndefined()
    }
  })
})

describe('eight times as much text takes about eight times as long:', () => {
  test.each<[string, Pattern]>([
    ['a string', 'never printed'],
    ['a regular expression', /never|printed$/],
  ])('%s', (_, pattern) => {
    const piece = `${'the quick brown fox '.repeat(200)}\n`
    const work = (pieces: number) => {
      const matcher = new Matcher(pattern)
      for (let n = 0; n < pieces; n++) matcher.push(piece)
    }
    expect(growth(work, { size: 320 })).toBeLessThan(NOISE) // 10 MB at the end
  })
})

test.each<[Pattern, string]>([
  ['a"b\n', String.raw`"a\"b\n"`],
  [/a\/b/i, String.raw`/a\/b/i`],
])('%s stands in a message as it is written', (pattern, text) => {
  expect(describePattern(pattern)).toBe(text)
})
