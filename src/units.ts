import { UsageError } from './errors.ts'
import { BYTES } from './format.ts'

export { formatDuration, formatSize } from './format.ts'

/** A time: a number of milliseconds, or a string with a unit such as `'500ms'`, `'5s'`, `'2m'`. */
export type Duration = number | string

/** An amount of memory with a unit, such as `'512M'` or `'2G'` (binary multiples, as in QEMU). */
export type Size = string

const MILLISECONDS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

// setTimeout fires at once for anything longer (Node: timers, "delay larger than 2147483647").
const LONGEST_MS = 2 ** 31 - 1
// Nobody gives a guest less than this on purpose; classic DTS counted its timeouts in seconds.
const SHORTEST_BARE_MS = 50

/**
 * A duration in milliseconds.
 *
 * @param what names the option in the error, e.g. `timeouts[1]`
 * @throws UsageError when the value has no known unit, is not positive, or is a bare number below 50
 */
export function parseDuration(value: Duration, what = 'a duration'): number {
  const ms = typeof value === 'number' ? bareMilliseconds(value, what) : withUnit(value, what)
  if (ms > LONGEST_MS) {
    throw new UsageError(`${what}: ${String(value)} is too long`, { hint: 'at most 24 days' })
  }
  return ms
}

function bareMilliseconds(value: number, what: string): number {
  if (!Number.isFinite(value) || value <= 0) {
    throw new UsageError(`${what}: ${value} is not a time`, { hint: `write e.g. '5s' or 5000` })
  }
  if (value < SHORTEST_BARE_MS) {
    throw new UsageError(`${what}: ${value} ms? DTS counted seconds: write '${value}s'`, {
      hint: `a bare number is milliseconds; for ${value} milliseconds write '${value}ms'`,
    })
  }
  return value
}

function withUnit(value: unknown, what: string): number {
  const match =
    typeof value === 'string' ? /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*$/.exec(value) : null
  const unit = MILLISECONDS[match?.[2] ?? '']
  const ms = unit === undefined ? 0 : Number(match?.[1]) * unit
  if (ms <= 0) {
    throw new UsageError(`${what}: ${JSON.stringify(value)} is not a time`, {
      hint: `write a number of milliseconds, or a string like '500ms', '5s' or '2m'`,
    })
  }
  return ms
}

/**
 * An amount of memory in bytes.
 *
 * @param what names the option in the error, e.g. `memory`
 * @throws UsageError when the value is not a positive number with one of the units K, M, G, T
 */
export function parseSize(value: Size, what = 'a size'): number {
  const match = typeof value === 'string' ? /^(\d+(?:\.\d+)?)([KMGT])(?:i?B)?$/i.exec(value) : null
  const bytes = Number(match?.[1]) * (BYTES[(match?.[2] ?? '').toUpperCase()] ?? Number.NaN)
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new UsageError(`${what}: ${JSON.stringify(value)} is not a size`, {
      hint: `write a string with a unit, like '512M' or '2G'`,
    })
  }
  return bytes
}
