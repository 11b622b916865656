import { describe, expect, test } from 'vitest'
import {
  asError,
  CommandFailedError,
  CommandTimeoutError,
  DutError,
  firstLine,
  GuestError,
  InfrastructureError,
  lastLines,
  UsageError,
  VmDiedError,
} from '../src/errors.ts'

describe('an error', () => {
  test('says where, what, how long, the last lines, and what to do', () => {
    const error = new GuestError('no prompt', {
      vm: 'vm1',
      dut: 'rack7',
      elapsedMs: 2345,
      tail: '\r\nbooting\r\n\r\nlogin:\r\n\r\n',
      hint: 'look at the cable',
    })
    expect(error.message).toBe(
      [
        'rack7/vm1: no prompt (after 2.3 s)',
        '  the last lines were:',
        '  | booting',
        '  | ',
        '  | login:',
        '→ look at the cable',
      ].join('\n'),
    )
    expect(error.shortMessage).toBe('no prompt')
  })

  test.each([
    [{}, 'it broke'],
    [{ vm: 'vm0' }, 'vm0: it broke'],
    [{ dut: 'dut0' }, 'dut0: it broke'],
    [{ elapsedMs: 0 }, 'it broke (after 0 ms)'],
    [{ tail: '' }, 'it broke\n  (nothing was printed)'],
    [{ tail: ' \n\t\n' }, 'it broke\n  (nothing was printed)'],
    [{ command: 'ls' }, 'it broke'],
  ])('with %j has only those parts', (details, message) => {
    expect(new DutError('it broke', details).message).toBe(message)
  })

  test('quotes the last twenty lines only', () => {
    const tail = Array.from({ length: 30 }, (_, i) => `line ${i}`).join('\n')
    const { message } = new DutError('late', { tail })
    expect(message).toContain('| line 10\n')
    expect(message).not.toContain('| line 9\n')
    expect(message).toMatch(/\| line 29$/)
  })

  test('carries its details as fields, and only those that were given', () => {
    const cause = new Error('why')
    const error = new DutError('it broke', { vm: 'vm0', command: 'ls', cause })
    expect(Object.keys(error)).toEqual(expect.arrayContaining(['vm', 'command']))
    expect(Object.keys(error)).not.toContain('dut')
    expect(error).toMatchObject({ vm: 'vm0', command: 'ls' })
    expect(error.cause).toBe(cause)
    expect('cause' in new DutError('alone')).toBe(false)
  })

  test('belongs to one family, by class and by name', () => {
    const guest = [GuestError, CommandTimeoutError, CommandFailedError, VmDiedError]
    for (const Kind of [...guest, InfrastructureError, UsageError]) {
      const error = new Kind('x')
      expect(error).toBeInstanceOf(DutError)
      expect(error.name).toBe(Kind.name)
      expect(error instanceof GuestError).toBe(guest.includes(Kind))
      expect(String(error)).toBe(`${Kind.name}: x`)
    }
  })
})

test.each([
  ['', 3, []],
  ['\n \n', 3, []],
  ['a\nb\nc\nd', 2, ['c', 'd']],
  ['a\r\nb\r\n', 5, ['a', 'b']],
  ['a\n\nb\n\n', 2, ['b']],
  ['a\n\nb', 3, ['a', '', 'b']],
])('lastLines of %j, %i', (text, count, lines) => {
  expect(lastLines(text, count)).toEqual(lines)
})

test('whatever was thrown becomes an Error', () => {
  const error = new TypeError('x')
  expect(asError(error)).toBe(error)
  expect(asError('gone')).toEqual(new Error('gone'))
  expect(asError(undefined).message).toBe('undefined')
  expect(firstLine(new DutError('it broke', { hint: 'mend it' }))).toBe('it broke')
  expect(firstLine('a\nb')).toBe('a')
})
