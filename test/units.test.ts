import { describe, expect, test } from 'vitest'
import { UsageError } from '../src/errors.ts'
import { parseDuration, parseSize } from '../src/units.ts'

/** The whole message of what `fn` throws, which has to be a UsageError. */
function refusal(fn: () => unknown): string {
  try {
    fn()
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError)
    return (error as Error).message
  }
  throw new Error('nothing was thrown')
}

describe('a duration', () => {
  test.each([
    [5000, 5000],
    [50, 50],
    [62.5, 62.5],
    ['500ms', 500],
    ['5ms', 5],
    ['0.5ms', 0.5],
    ['5s', 5000],
    [' 5 s ', 5000],
    ['2.5s', 2500],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['576h', 576 * 3_600_000],
    [2 ** 31 - 1, 2 ** 31 - 1],
  ])('%j is %d ms', (given, ms) => {
    expect(parseDuration(given)).toBe(ms)
  })

  test.each([5, 49, 0.5, 49.9])('%d is taken for seconds, and refused', (seconds) => {
    const message = refusal(() => parseDuration(seconds, 'timeouts[1]'))
    expect(message).toContain(
      `timeouts[1]: ${seconds} ms? DTS counted seconds: write '${seconds}s'`,
    )
    expect(message).toContain(`for ${seconds} milliseconds write '${seconds}ms'`)
  })

  test.each([
    [0, `0 is not a time`],
    [-1, `-1 is not a time`],
    [Number.NaN, `NaN is not a time`],
    [Number.POSITIVE_INFINITY, `Infinity is not a time`],
    ['', `"" is not a time`],
    ['5', `"5" is not a time`],
    ['s', `"s" is not a time`],
    ['0s', `"0s" is not a time`],
    ['-5s', `"-5s" is not a time`],
    ['5 sec', `"5 sec" is not a time`],
    ['5S', `"5S" is not a time`],
    ['1m30s', `"1m30s" is not a time`],
    ['1e3ms', `"1e3ms" is not a time`],
    [null, `null is not a time`],
    [{ s: 5 }, `{"s":5} is not a time`],
  ])('%j is refused with what to write', (given, message) => {
    const said = refusal(() => parseDuration(given as string, 'timeout'))
    expect(said).toContain(`timeout: ${message}`)
    expect(said).toMatch(/→ write .*'5s'/)
  })

  test.each([2 ** 31, '600h', '100000m'])('%j is longer than a timer can wait', (given) => {
    expect(refusal(() => parseDuration(given))).toContain('is too long')
  })
})

describe('a size', () => {
  test.each([
    ['512M', 512 * 2 ** 20],
    ['2G', 2 ** 31],
    ['1T', 2 ** 40],
    ['4K', 4096],
    ['1.5G', 1.5 * 2 ** 30],
    ['512m', 512 * 2 ** 20],
    ['512MB', 512 * 2 ** 20],
    ['512MiB', 512 * 2 ** 20],
  ])('%s is %d bytes', (given, bytes) => {
    expect(parseSize(given)).toBe(bytes)
  })

  test.each(['512', '', 'M', '0M', '-1G', '1 G', '0.3K', '1P', '99999999T', 512, undefined])(
    '%j is refused with what to write',
    (given) => {
      const message = refusal(() => parseSize(given as string, 'memory'))
      expect(message).toContain('memory: ')
      expect(message).toContain(`'512M' or '2G'`)
    },
  )
})
