import { UsageError } from '../errors.ts'
import { checkRange } from '../lease/resources/ports.ts'
import { checkInteger, checkKeys } from '../options.ts'
import { type Duration, parseDuration } from '../units.ts'

export interface DutConfig {
  name: string
  /** Left out: this machine, the only kind that this version reaches. */
  host?: string
  /** First and last of the host ports that forwards are given; 20000 to 20999 where none are given. */
  ports?: readonly [first: number, last: number]
}

export interface PluginOptions {
  /** Where VMs run; one DUT named `dut0`, this machine, where none are given. */
  duts?: readonly DutConfig[]
  /** How many VMs of a suite boot at once on a DUT; made from cores and memory where none is given. */
  concurrency?: number
  /** `grow: true` lets the plugin enlarge the host's pools of huge pages while they are needed (root). */
  hugepages?: { grow?: boolean }
  /** How many times the host's memory may be promised to VMs; 1 where none is given. */
  overcommit?: number
  /** How long a suite waits for what others have of the host; 30 minutes where none is given. */
  waitTimeout?: Duration
  /** For suites that do not set their own; 120 s where none is given. */
  bootTimeout?: Duration
  /**
   * Tear down in order on SIGINT, SIGTERM and SIGHUP in `vitest run`, which Vitest itself does not;
   * `true` where it is not given.
   */
  handleSignals?: boolean
  /** Print what happened at the end of the run: VMs, their times, annotations; `false` by default. */
  summary?: boolean
}

export interface ResolvedPluginOptions extends PluginOptions {
  duts: readonly DutConfig[]
  bootTimeoutMs: number
  admission: { grow: boolean; overcommit: number; timeoutMs: number }
  handleSignals: boolean
  summary: boolean
}

const KEYS = [
  ...['duts', 'concurrency', 'hugepages', 'overcommit', 'waitTimeout', 'bootTimeout'],
  ...['handleSignals', 'summary'],
]

/** @throws UsageError naming the option and what to write instead */
export function resolvePluginOptions(options: PluginOptions): ResolvedPluginOptions {
  checkKeys('dut()', options, KEYS)
  const { duts = [{ name: 'dut0' }], concurrency, bootTimeout = '120s' } = options
  const { handleSignals = true, summary = false } = options
  if (!Array.isArray(duts) || duts.length === 0) {
    throw new UsageError('dut(): duts is not a list of DUTs', { hint: `duts: [{ name: 'dut0' }]` })
  }
  const names = new Set<string>()
  for (const [i, config] of duts.entries()) {
    checkKeys(`dut(): duts[${i}]`, config, ['name', 'host', 'ports'])
    if (typeof config.name !== 'string' || !/^\w[\w.-]{0,31}$/.test(config.name)) {
      throw new UsageError(`dut(): duts[${i}]: ${JSON.stringify(config.name)} is not a name`, {
        hint: 'up to 32 letters, digits, dots, dashes and underscores, no dot or dash first',
      })
    }
    if (names.has(config.name)) {
      throw new UsageError(`dut(): two DUTs are named ${JSON.stringify(config.name)}`)
    }
    names.add(config.name)
    if (config.ports !== undefined) checkRange(`dut(): ${config.name}: ports`, config.ports)
    if (config.host !== undefined) {
      throw new UsageError(`dut(): ${config.name}: this version reaches this machine only`, {
        hint: 'leave host out',
      })
    }
  }
  if (concurrency !== undefined) checkInteger('dut(): concurrency', concurrency, 1, 1000)
  const bootTimeoutMs = parseDuration(bootTimeout, 'dut(): bootTimeout')
  const admission = resolveAdmission(options)
  return { ...options, duts, bootTimeoutMs, admission, handleSignals, summary }
}

function resolveAdmission({ hugepages = {}, overcommit = 1, waitTimeout = '30m' }: PluginOptions) {
  checkKeys('dut(): hugepages', hugepages, ['grow'])
  const { grow = false } = hugepages
  if (typeof grow !== 'boolean') {
    throw new UsageError(`dut(): hugepages.grow: ${JSON.stringify(grow)} is not true or false`)
  }
  if (typeof overcommit !== 'number' || !(overcommit >= 1 && overcommit <= 100)) {
    throw new UsageError(`dut(): overcommit: ${JSON.stringify(overcommit)} is not from 1 to 100`, {
      hint: '1 promises no more memory than there is, 2 twice as much',
    })
  }
  return { grow, overcommit, timeoutMs: parseDuration(waitTimeout, 'dut(): waitTimeout') }
}
