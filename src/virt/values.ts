import { UsageError } from '../errors.ts'

/** A value as DTS has it: most are strings, whatever they stand for. */
export type VirtValue = string | number | boolean | null | undefined

/** One element of a key's list: sub-options by their names. `None` is `null` or absent. */
export type VirtElement = Record<string, VirtValue>

/** What DTS calls `virt_params`: for each key a list of elements, or nothing. */
export type VirtParams = Record<string, readonly VirtElement[] | VirtElement | null | undefined>

/** The sub-options of one element, read one by one; what nobody reads is unknown. */
export class Options {
  readonly what: string
  readonly #values: Record<string, string>

  constructor(what: string, element: VirtElement) {
    this.what = what
    this.#values = Object.fromEntries(
      Object.entries(element).flatMap(([key, value]) => {
        const isAbsent = value === null || value === undefined || value === ''
        return isAbsent || value === 'None' ? [] : [[key, String(value)]]
      }),
    )
  }

  get(name: string): string | undefined {
    return this.#values[name]
  }

  /** @throws UsageError where it is missing */
  need(name: string): string {
    const value = this.get(name)
    if (value !== undefined) return value
    throw new UsageError(`${this.what}: ${name} is missing`)
  }

  /** @throws UsageError where it is no whole number of at least `least` */
  number(name: string, least = 0): number | undefined {
    const value = this.get(name)
    if (value === undefined) return undefined
    if (/^\d+$/.test(value) && Number(value) >= least) return Number(value)
    throw new UsageError(
      `${this.what}: ${name}: ${JSON.stringify(value)} is not a whole number of at least ${least}`,
    )
  }

  /** What DTS writes `yes` and `no`, `True` and `False`, `on` and `off`. */
  flag(name: string): boolean | undefined {
    const value = this.get(name)
    if (value === undefined) return undefined
    if (/^(yes|true|on)$/i.test(value)) return true
    if (/^(no|false|off)$/i.test(value)) return false
    throw new UsageError(`${this.what}: ${name}: ${JSON.stringify(value)} is neither yes nor no`)
  }

  /** @throws UsageError that says what to use instead */
  refuse(name: string, why: string): void {
    if (this.get(name) === undefined) return
    throw new UsageError(`${this.what}: ${name} is not honoured`, { hint: why })
  }
}

/** QEMU's `a=b,c=d` as properties; `on` and `off` are booleans. @throws UsageError for anything else */
export function readProperties(what: string, text: string): Record<string, string | boolean> {
  return Object.fromEntries(
    text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
      .map((part) => {
        const [, key, value] = /^([\w.-]+)=(.*)$/.exec(part) ?? []
        if (key === undefined || value === undefined) {
          throw new UsageError(`${what}: ${JSON.stringify(part)} is not NAME=VALUE`)
        }
        return [key, value === 'on' ? true : value === 'off' ? false : value]
      }),
  )
}
