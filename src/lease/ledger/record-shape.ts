/*
 * Anybody on the host can put a file into the ledger, with anything in it: what is read there is believed
 * only as far as this goes.
 */

type Check = (value: unknown) => boolean

const isText: Check = (value) => typeof value === 'string'
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0
const isBytes: Check = (value) => Number.isFinite(value) && (value as number) >= 0
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value)
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check)
const shape =
  (checks: Readonly<Record<string, Check>>): Check =>
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    Object.entries(checks).every(([key, check]) => check((value as Record<string, unknown>)[key]))

const RECORD = {
  // It becomes part of a path.
  owner: (value: unknown) => isText(value) && /^owner@[0-9a-f]{12}$/.test(value as string),
  holder: shape({
    ...{ user: isText, pid: isCount, program: isText, folder: isText, since: isCount },
    ...{ run: optional(isText), suite: optional(isText) },
  }),
  dut: isText,
  vm: optional(isText),
  dir: optional(isText),
}

const isPages = shape({
  size: (value) => value === '2M' || value === '1G',
  node: isCount,
  count: isCount,
  grown: optional(shape({ from: isCount, to: isCount })),
})

const isHolding = shape({
  memory: isBytes,
  pages: optional(isPages),
  cpus: listOf(isCount),
  ports: listOf(isCount),
  pci: listOf(shape({ address: isText, driver: optional(isText), override: optional(isText) })),
  bridges: listOf(isText),
  names: listOf(isText),
})

/** Whether it has what a lease's record has; see `LeaseRecord`. */
export const isLease: Check = shape({ ...RECORD, holding: isHolding, qemu: optional(isCount) })

/** Whether it has what the record of somebody who waits has; see `WishRecord`. */
export const isWish: Check = shape({
  ...RECORD,
  turn: isCount,
  needs: listOf(shape({ dut: isText })),
  lacks: listOf(isText),
})
