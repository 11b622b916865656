import { describe, expect, test } from 'vitest'
import { MarkReader } from '../../src/console/marks.ts'
import { readerOf } from '../support/cuts.ts'

const full = (body: Partial<{ status: number; isNoisy: boolean; facts: object; pid: number }>) => ({
  ...{ kind: 'prompt', at: 1, status: 0, isNoisy: false, isAnswer: false },
  ...{ facts: { each: '0', line: 3, options: 'himBHs' } },
  ...body,
})

describe('what stands between two record separators', () => {
  test.each([
    ['5ec1+', { kind: 'begin', at: 1 }],
    ['5ec1=:0', { kind: 'prompt', at: 1, status: 0, isNoisy: false, isAnswer: false }],
    ['5ec1=(env) $ :127', { kind: 'prompt', at: 1, status: 127, isNoisy: true, isAnswer: false }],
    [
      '5ec1=:0;4711',
      { kind: 'prompt', at: 1, status: 0, isNoisy: false, isAnswer: false, pid: 4711 },
    ],
    ['5ec1=$ :0;1:2;3', full({ status: 2, isNoisy: true, pid: 3, facts: undefined })],
    ['5ec1=:0;', undefined],
    ['5ec1=1:2:3', { kind: 'prompt', at: 1, status: 3, isNoisy: true, isAnswer: false }],
    ['5ec1:3:himBHs::0:0', full({})],
    ['5ec1:3:himBHs:pp:0:0', full({ isNoisy: true })],
    ['5ec1:3:himBHs::0:7:4711', full({ status: 7, pid: 4711 })],
    ['5ec1:3:himxBHs::1 0:0', full({ facts: { each: '1 0', line: 3, options: 'himxBHs' } })],
    [
      '5ec1:3:himBHs::0:0;',
      full({ facts: { each: '0', line: 3, options: 'himBHs', hasTrap: false } }),
    ],
    [
      "5ec1:3:himBHs::0:0;trap -- 'echo a\necho b' DEBUG\n",
      full({ facts: { each: '0', line: 3, options: 'himBHs', hasTrap: true } }),
    ],
    ['dut-shell 4711', { kind: 'banner' }],
    ['', undefined],
    ['5ec1', undefined],
    ['5ec1:', undefined],
    ['5ec1++', undefined],
    ['5ec1=:', undefined],
    ['5ec1=:-1', undefined],
    ['5ec1:3:him::0:x', undefined],
    ['5ec2=:0', undefined],
    ['dead1=:0', undefined],
    [' 5ec1=:0', undefined],
    ['dut-shell', undefined],
    ['dut-shell x', undefined],
    ['my dut-shell 1', undefined],
  ])('%j is %j', (body, mark) => {
    expect(readerOf('5ec1').read(body)).toEqual(mark)
  })
})

describe('a line', () => {
  test('is answered once: what is shown again is output', () => {
    const reader = readerOf('a1')
    expect(reader.read('a1=:0')).toBeDefined()
    expect(reader.read('a1=:0')).toBeUndefined()
    expect(reader.read('a1+')).toBeUndefined()
  })

  test('that started another shell is answered after those that were typed into that one', () => {
    const reader = readerOf('a1', 'a2')
    expect(reader.read('a2=:0')).toBeDefined()
    expect(reader.read('a1=:0')).toBeDefined()
  })

  test('that was typed behind another may be answered after it', () => {
    const reader = readerOf('a1', 'a2')
    expect(reader.read('a1=:0')).toBeDefined()
    expect(reader.read('a2=:0')).toBeDefined()
  })

  test('of a shell that is gone is not answered by the next', () => {
    const reader = readerOf('a1')
    reader.forget()
    expect(reader.read('a1=:0')).toBeUndefined()
  })

  test('that is a probe is known by its answer', () => {
    const reader = new MarkReader()
    const id = reader.makeId()
    reader.await(id, { isProbe: true })
    expect(reader.read(`${id}=:0`)).toMatchObject({ isAnswer: true })
  })

  test('has a number, which its marks tell', () => {
    const reader = readerOf('a1')
    expect(reader.await('a2')).toBe(2)
    expect(reader.typed).toBe(2)
    expect(reader.read('a2+')).toEqual({ kind: 'begin', at: 2 })
    expect(reader.read('a2=:0')).toMatchObject({ at: 2 })
    expect(reader.read('a1=:0')).toMatchObject({ at: 1 })
  })

  test('has an id of its own, and one that another console hardly gives', () => {
    const reader = new MarkReader()
    expect(new Set(Array.from({ length: 5000 }, () => reader.makeId())).size).toBe(5000)
    const first = new Set(Array.from({ length: 500 }, () => new MarkReader().makeId()))
    expect(first.size).toBeGreaterThan(490)
  })

  test('is forgotten once very many were not answered', () => {
    const reader = readerOf(...Array.from({ length: 100 }, (_, i) => `a${i}x`))
    expect(reader.read('a0x=:0')).toBeUndefined()
    expect(reader.read('a99x=:0')).toBeDefined()
  })
})

test.each(['5ec1+', '5ec1=(env) :3', '5ec1:3:himBHs::0:0:4711', 'dut-shell 123456'])(
  'every beginning of the mark %j could become one',
  (body) => {
    const reader = readerOf('5ec1')
    for (let i = 0; i <= body.length; i++) expect(reader.couldBecome(body.slice(0, i))).toBe(true)
  },
)

test.each([
  'x',
  '5f',
  '5ed',
  '5ec2=',
  'dut_',
  `5ec1+${'1'.repeat(20)}`,
  `5ec1=${'1'.repeat(5000)}`,
])('%j cannot become a mark', (body) => {
  expect(readerOf('5ec1').couldBecome(body)).toBe(false)
})
