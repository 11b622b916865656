import { describe, expect, test } from 'vitest'
import { RS } from '../../src/console/marks.ts'
import { banner, cutsOf, end, ID, mark, short, tokensOf } from '../support/cuts.ts'
import { growth, NOISE } from '../support/growth.ts'

const whole = (stream: string) => tokensOf([Buffer.from(stream)])
const textOf = (stream: string) =>
  whole(stream)
    .map((token) => ('text' in token ? token.text : `[${token.mark.kind}]`))
    .join('')

describe('text', () => {
  test.each([
    ['plain', 'abc\ndef', 'abc\ndef'],
    ['lines of a cooked terminal', 'a\r\nb\r\r\nc', 'a\nb\nc'],
    ['a carriage return of its own', '10%\r20%\rdone\n', '10%\r20%\rdone\n'],
    ['colours', '\x1b[1;31mred\x1b[0m \x1b[mend', 'red end'],
    ['private and intermediate bytes', '\x1b[?2004h>\x1b[?25l\x1b[0 qx', '>x'],
    ['a title, both ends', '\x1b]0;root@vm\x07a\x1b]2;t\x1b\\b', 'ab'],
    ['two-byte escapes', '\x1b(Ba\x1b=b\x1b7c\x1bMd', 'abcd'],
    ['an escape before a line’s end', 'a\x1b[K\r\nb', 'a\nb'],
    ['an escape between the two of a line’s end', 'a\r\x1b[K\nb', 'a\nb'],
    ['several scripts', 'žluť 漢字 🐧\n', 'žluť 漢字 🐧\n'],
    ['a tab and a bell', 'a\tb\x07', 'a\tb\x07'],
  ])('%s', (_, stream, wanted) => {
    expect(textOf(stream)).toBe(wanted)
  })

  test('of bytes that are no UTF-8 has replacement characters, and goes on', () => {
    const bytes = Buffer.concat([Buffer.from('a'), Buffer.of(0xff, 0xc3), Buffer.from('b\n')])
    expect(tokensOf([bytes])).toEqual([{ text: 'a\ufffd\ufffdb\n' }])
  })
})

describe('marks', () => {
  test('stand between texts, in order', () => {
    const stream = `${mark('1+')}out\r\n${end(1, 0)}noise${mark('2+')}${end(2, 3)}rest`
    expect(whole(stream)).toEqual([
      { mark: expect.objectContaining({ kind: 'begin' }) },
      { text: 'out\n' },
      { mark: expect.objectContaining({ kind: 'prompt', status: 0 }) },
      { text: 'noise' },
      { mark: expect.objectContaining({ kind: 'begin' }) },
      { mark: expect.objectContaining({ kind: 'prompt', status: 3 }) },
      { text: 'rest' },
    ])
  })

  test('that are short end their line', () => {
    expect(textOf(`a\n${short(1, 0)}b${short(2, 1).replace('\n', '\r\n')}\nc`)).toBe(
      'a\n[prompt]b[prompt]\nc',
    )
  })

  test.each([
    ['a mark that is printed again', `${end(1, 0)}${end(1, 0)}`, `[prompt]${end(1, 0)}`],
    ['another console’s mark', `${RS}bee1:0${RS}x`, `${RS}bee1:0${RS}x`],
    ['record separators of its own', `a${RS}b${RS}c${RS}`, `a${RS}b${RS}c${RS}`],
    ['one right before a mark', `a${RS}${end(1, 0)}`, `a${RS}[prompt]`],
    ['one and text right before a mark', `${RS}x${end(1, 0)}y`, `${RS}x[prompt]y`],
    ['a mark that is too long', `${RS}${ID}1+${'1'.repeat(40)} and on`, /1{40} and on$/],
    ['a status that is none', `${mark('1=:x')}y`, `${mark('1=:x')}y`],
  ])('%s is output', (_, stream, wanted) => {
    // A trailing separator may yet begin a mark: something has to follow it.
    const text = textOf(`${stream}.`)
    if (typeof wanted === 'string') expect(text).toBe(`${wanted}.`)
    else expect(text.slice(0, -1)).toMatch(wanted)
  })

  test('are read behind whatever a program left unfinished', () => {
    const left = [
      RS,
      '\x1b',
      '\x1b]',
      '\x1b[',
      '\x1bP',
      '\x07',
      '\r',
      ';',
      ID,
      `${ID}1:`,
      `${ID}1=`,
    ]
    const parts = [...left, 'dut-shell ', 'x'.repeat(5000), '\xc3'].map((text) =>
      Buffer.from(text, 'latin1'),
    )
    const kinds = new Set<string>()
    for (const a of parts) {
      for (const b of parts) {
        for (const c of parts) {
          const tokens = tokensOf([a, b, c, Buffer.from(end(1, 3))])
          const last = tokens.at(-1)
          kinds.add(last && 'mark' in last ? last.mark.kind : `none behind ${[a, b, c].join('')}`)
        }
      }
    }
    expect([...kinds]).toEqual(['prompt'])
  })

  test('that are never finished are held back only as long as they could be one', () => {
    expect(whole(`out${RS}5e`)).toEqual([{ text: 'out' }])
    expect(whole(`out${RS}5x`)).toEqual([{ text: `out${RS}5x` }])
    expect(whole(`${RS}${ID}1=${'9'.repeat(5000)}`)).toHaveLength(1)
  })
})

const STREAMS = {
  'empty lines behind a banner': `${banner(3)}\n\na\n\nb\n`,
  'a session': `${end(1, 0)}echo\r\n${mark('2+')}žluťoučký 漢字 🐧\r\n${end(2, 127)}${banner(12)}`,
  escapes: `\x1b[?2004h\x1b[1;32mok\x1b[0m\r\n\x1b]0;title\x07x\x1b]2;t\x1b\\y\x1b(B\x1b[K\r\n`,
  'an escape before a mark': `a\x1b[0m${end(1, 0)}\x1b[1m${mark('2+')}b\x1b[m${short(2, 0)}`,
  'line ends': `a\r\nb\r\r\nc\r\r\r\nd\re\r${end(1, 0)}f\r${short(2, 0)}\r\n\r\x1b[K\ng\x1b[K\r\n\r\r`,
  'separators of its own': `${RS}${RS}a${RS}5e${RS}${end(1, 0)}${RS}dut-${RS}b${end(1, 0)}c${RS}.`,
  'escapes that are none': `\x1b\x1b[0mx\x1b[1\x1b[2my\x1b\x1b[K[mz \x1b[;\x01 end`,
  'a carriage return or an escape before half a mark': `a\r${RS}5ez\x1b[${RS}dut-q\x1b]0;x${RS}5${RS}y\x07.`,
  'two shells': `${short(4, 0)}bye\r\n${banner(3)}\n${end(1, 0)}`,
}

describe.each(Object.entries(STREAMS))('however it is cut, %s', (_, stream) => {
  test('gives the same tokens', () => {
    const wanted = whole(stream)
    expect(wanted.length).toBeGreaterThan(0)
    for (const { name, pieces } of cutsOf(stream)) expect(tokensOf(pieces), name).toEqual(wanted)
  })
})

describe('eight times as much takes about eight times as long:', () => {
  test.each([
    [
      'coloured lines',
      (count: number) => '\x1b[32mpacket 0123456789\x1b[0m of many\r\n'.repeat(count),
    ],
    ['carriage returns', (count: number) => `${'\r'.repeat(40 * count)}x\r\n`],
    ['record separators', (count: number) => `${RS}a\n`.repeat(40 * count)],
  ])('%s', (_, make) => {
    const work = (count: number) => tokensOf([Buffer.from(make(count)), Buffer.from('.')])
    expect(growth(work, { size: 5000 })).toBeLessThan(NOISE)
  })
})
