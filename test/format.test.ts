import { expect, test } from 'vitest'
import { formatDuration, formatSize } from '../src/format.ts'
import { parseSize } from '../src/units.ts'

test.each([
  [0, '0 ms'],
  [84.6, '85 ms'],
  [999.4, '999 ms'],
  [999.6, '1.0 s'],
  [2345, '2.3 s'],
  [59_949, '59.9 s'],
  [59_951, '1 m 00 s'],
  [125_000, '2 m 05 s'],
  [7_260_000, '121 m 00 s'],
])('%d ms is written %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text)
})

test.each([
  [0, '0B'],
  [1, '1B'],
  [1536, '1536B'],
  [2048, '2K'],
  [1.5 * 2 ** 30, '1536M'],
  [2 ** 31, '2G'],
  [2 ** 40, '1T'],
])('%d bytes are written %s, and read again', (bytes, text) => {
  expect(formatSize(bytes)).toBe(text)
  if (!text.endsWith('B')) expect(parseSize(text)).toBe(bytes)
})
