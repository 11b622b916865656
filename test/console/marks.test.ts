import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { MarkReader, makeSecret, setupLine } from '../../src/console/marks.ts'
import { readerWith } from './cuts.ts'

const prompt = (status: number, isAnswer = false) => ({ kind: 'prompt', status, isAnswer })

describe('what stands between two record separators', () => {
  test.each([
    ['5ec0M', { kind: 'more' }],
    ['5ec01:0', prompt(0)],
    ['5ec017:255', prompt(255)],
    ['dut-shell 4711', { kind: 'banner' }],
    ['', undefined],
    ['5ec0', undefined],
    ['5ec0m', undefined],
    ['5ec0MM', undefined],
    ['5ec01:', undefined],
    ['5ec0:0', undefined],
    ['5ec01:-1', undefined],
    ['5ec01:0 ', undefined],
    ['5ec00:0', undefined],
    ['dead1:0', undefined],
    [' 5ec0M', undefined],
    ['dut-shell', undefined],
    ['dut-shell x', undefined],
    ['my dut-shell 1', undefined],
  ])('%j is %j', (body, mark) => {
    expect(readerWith('5ec0').read(body)).toEqual(mark)
  })

  test('a prompt counts once: printed again, or an older one, it is output', () => {
    const reader = readerWith('5ec0')
    expect(reader.read('5ec03:0')).toEqual(prompt(0))
    for (const body of ['5ec03:0', '5ec03:1', '5ec02:0']) expect(reader.read(body)).toBeUndefined()
    expect(reader.read('5ec04:1')).toEqual(prompt(1))
  })

  test('a probe is answered by its own prompt, not by one that was under way', () => {
    const reader = readerWith('5ec0')
    reader.read('5ec07:0')
    const count = Number(/^__dut=(\d+)\n$/.exec(reader.probeLine())?.[1])
    expect(reader.read('5ec08:0')).toEqual(prompt(0))
    expect(reader.read(`5ec0${count + 1}:0`)).toEqual(prompt(0, true))
    expect(reader.read(`5ec0${count + 2}:0`)).toEqual(prompt(0))
  })

  test('a second probe forgets the first', () => {
    const reader = readerWith('5ec0')
    reader.read('5ec01:0')
    const first = Number(/\d+/.exec(reader.probeLine())?.[0])
    reader.read(`5ec0${first}:0`)
    const second = Number(/\d+/.exec(reader.probeLine())?.[0])
    expect(second).toBeGreaterThan(first)
    expect(reader.read(`5ec0${first + 1}:0`)).toEqual(prompt(0))
    expect(reader.read(`5ec0${second + 1}:0`)).toEqual(prompt(0, true))
  })
})

test.each(['5ec012:3', '5ec0S', '5ec0M', 'dut-shell 123456'])(
  'every beginning of the mark %j could become one',
  (body) => {
    const reader = readerWith('5ec0')
    for (let i = 0; i <= body.length; i++) expect(reader.couldBecome(body.slice(0, i))).toBe(true)
  },
)

test.each(['x', '5f', '5ec1', 'dut_', `5ec0${'1'.repeat(20)}`])(
  '%j cannot become a mark',
  (body) => {
    expect(readerWith('5ec0').couldBecome(body)).toBe(false)
  },
)

describe('the line that puts a bash under the protocol', () => {
  const line = setupLine('5ec0')

  test('cannot be mistaken for a mark where it is echoed', () => {
    expect(line).not.toContain('5ec0')
    expect(line).not.toContain('\x1e')
    expect(line.split('\n')).toHaveLength(2)
  })

  test('makes bash print just those marks', () => {
    const shown = execFileSync('bash', [
      '--norc',
      '-c',
      `${line}\nfalse; printf %s "\${PS1@P}\${PS1@P}\${PS2@P}"`,
    ])
    expect(shown.toString()).toBe('\x1e5ec01:1\x1e\x1e5ec02:1\x1e\x1e5ec0M\x1e')
  })
})

test('each console has a secret of its own, which a mark is recognised by', () => {
  const secrets = new Set(Array.from({ length: 50 }, makeSecret))
  expect(secrets.size).toBeGreaterThan(40)
  const [a, b] = [readerWith('aaaa'), readerWith('bbbb')]
  expect(a.read('aaaaM')).toEqual({ kind: 'more' })
  expect(b.read('aaaaM')).toBeUndefined()
  expect(new MarkReader().secret).toMatch(/^[0-9a-f]{3}$/)
})
