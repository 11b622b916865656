import { describe, expect, test } from 'vitest'
import { RS } from '../../src/console/marks.ts'
import { banner, cutsOf, mark, SECRET, tokensOf } from './cuts.ts'
import { growth, NOISE } from './growth.ts'

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
    const stream = `${banner(7)}${mark('1:0')}out\r\n${mark('M')}${mark('2:3')}rest`
    expect(whole(stream)).toEqual([
      { mark: { kind: 'banner' } },
      { mark: { kind: 'prompt', status: 0, isAnswer: false } },
      { text: 'out\n' },
      { mark: { kind: 'more' } },
      { mark: { kind: 'prompt', status: 3, isAnswer: false } },
      { text: 'rest' },
    ])
  })

  test.each([
    ['a prompt that is printed again', `${mark('1:0')}${mark('1:0')}`, `[prompt]${mark('1:0')}`],
    ['an older prompt', `${mark('5:0')}${mark('4:0')}x`, `[prompt]${mark('4:0')}x`],
    ['another console’s prompt', `${RS}beef1:0${RS}x`, `${RS}beef1:0${RS}x`],
    ['record separators of its own', `a${RS}b${RS}c${RS}`, `a${RS}b${RS}c${RS}`],
    ['one right before a mark', `a${RS}${mark('1:0')}`, `a${RS}[prompt]`],
    ['one and text right before a mark', `${RS}x${mark('1:0')}y`, `${RS}x[prompt]y`],
    ['a mark that is too long', `${RS}${SECRET}${'1'.repeat(40)} and on`, /1{40} and on$/],
    ['a status that is none', `${mark('1:x')}y`, `${mark('1:x')}y`],
    ['the line that sets them up', `PS1=$'\\036'5e''c0'S'$'\\036'\n`, /^PS1=.*\n$/],
  ])('%s is output', (_, stream, wanted) => {
    // A trailing separator may yet begin a mark: something has to follow it.
    const text = textOf(`${stream}.`)
    if (typeof wanted === 'string') expect(text).toBe(`${wanted}.`)
    else expect(text.slice(0, -1)).toMatch(wanted)
  })

  test('after a banner count from the beginning: it is another shell', () => {
    const stream = `${mark('9:0')}${banner(8)}${mark('1:0')}`
    expect(textOf(stream)).toBe('[prompt][banner][prompt]')
  })

  test('that are never finished are held back only as long as they could be one', () => {
    expect(whole(`out${RS}5e`)).toEqual([{ text: 'out' }])
    expect(whole(`out${RS}5x`)).toEqual([{ text: `out${RS}5x` }])
    expect(whole(`${RS}${SECRET}${'9'.repeat(30)}`)).toHaveLength(1)
  })
})

const STREAMS = {
  'empty lines behind a banner': `${banner(3)}\n\na\n\nb\n`,
  'a session': `${banner(12)}${mark('1:0')}echo\r\n${mark('S')}žluťoučký 漢字 🐧\r\n${mark('2:127')}`,
  escapes: `\x1b[?2004h\x1b[1;32mok\x1b[0m\r\n\x1b]0;title\x07x\x1b]2;t\x1b\\y\x1b(B\x1b[K\r\n`,
  'an escape before a mark': `a\x1b[0m${mark('1:0')}\x1b[1m${mark('S')}b\x1b[m${mark('2:0')}`,
  'line ends': `a\r\nb\r\r\nc\r\r\r\nd\re\r${mark('1:0')}f\r\x1b[K\ng\x1b[K\r\n\r\r`,
  'separators of its own': `${RS}${RS}a${RS}5e${RS}${mark('1:0')}${RS}dut-${RS}b${mark('1:0')}c${RS}.`,
  'escapes that are none': `\x1b\x1b[0mx\x1b[1\x1b[2my\x1b\x1b[K[mz \x1b[;\x01 end`,
  'a carriage return or an escape before half a mark': `a\r${RS}5ez\x1b[${RS}dut-q\x1b]0;x${RS}5${RS}y\x07.`,
  'two shells': `${mark('4:0')}bye\r\n${banner(3)}${mark('1:0')}${mark('S')}${mark('2:0')}`,
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
