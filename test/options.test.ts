import { describe, expect, test } from 'vitest'
import { UsageError } from '../src/errors.ts'
import { checkInteger, checkKeys, nearestTo } from '../src/options.ts'

const KEYS = ['memory', 'cpus', 'devices', 'machine', 'extraArgs', 'qemu']

describe('checkKeys', () => {
  test('takes what is known', () => {
    checkKeys('vm0', {}, KEYS)
    checkKeys('vm0', { memory: 1, qemu: undefined }, KEYS)
  })

  test.each([
    ['mem', 'unknown option "mem"', 'did you mean "memory"?'],
    ['memroy', 'unknown option "memroy"', 'did you mean "memory"?'],
    ['Memory', 'unknown option "Memory"', 'did you mean "memory"?'],
    ['cpu', 'unknown option "cpu"', 'did you mean "cpus"?'],
    ['device', 'unknown option "device"', 'did you mean "devices"?'],
    ['extra_args', 'unknown option "extra_args"', 'did you mean "extraArgs"?'],
    ['colour', 'unknown option "colour"', 'known are: memory, cpus'],
    ['"', 'unknown option "\\""', 'known are'],
  ])('%s: %s, %s', (key, message, hint) => {
    const check = () => checkKeys('vm0', { [key]: 1 }, KEYS)
    expect(check).toThrow(UsageError)
    expect(check).toThrow(`vm0: ${message}`)
    expect(check).toThrow(hint)
  })

  test.each([null, undefined, 5, 'memory', [], ['memory']])('%j are no options', (given) => {
    expect(() => checkKeys('vm0', given as object, KEYS)).toThrow(
      'vm0: the options are not an object',
    )
  })
})

test.each([
  ['sart', ['stop', 'start'], 'start'],
  ['', [], undefined],
  ['hugepage', ['hugepages', 'huge'], 'hugepages'],
  ['bootTimeoutMs', ['boot', 'bootTimeout'], 'bootTimeout'],
  ['something', ['memory', 'cpus'], undefined],
])('the word nearest to %j of %j is %j', (word, known, nearest) => {
  expect(nearestTo(word, known)).toBe(nearest)
})

describe('checkInteger', () => {
  test.each([1, 128, 7])('takes %d', (value) => {
    expect(checkInteger('queues', value, 1, 128)).toBe(value)
  })

  test.each([0, 129, 1.5, '2', Number.NaN, null, undefined, true])('refuses %j', (value) => {
    const check = () => checkInteger('queues', value, 1, 128)
    expect(check).toThrow(UsageError)
    expect(check).toThrow(/queues: .* is not a whole number/)
    expect(check).toThrow('from 1 to 128')
  })
})
