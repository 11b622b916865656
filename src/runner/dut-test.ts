import { expect } from 'vitest'
import { UsageError } from '../errors.ts'
import type { Dut } from '../fleet/dut.ts'
import type { FleetOptions } from '../fleet/fleet.ts'
import { Reset } from '../fleet/reset.ts'
import { checkKeys } from '../options.ts'
import { Scope } from '../scope.ts'
import { type Duration, parseDuration } from '../units.ts'
import type { Vm } from '../vm/vm.ts'
import { Provision } from './provision.ts'
import { extendAtOnce, makeTestApi } from './test-api.ts'
import { Worker } from './worker.ts'

type VmCount = number | ((dut: Dut) => number)

export interface DutTestOptions<B, N extends VmCount = VmCount> extends FleetOptions<B> {
  /** How many VMs on each DUT; 1 where none is given. */
  vms?: N
  /** Names of the DUTs to use; all of the configuration where none are given. */
  duts?: readonly string[]
  /**
   * How long a VM may take from its start to its first answer; the configuration's where none is
   * given. It has nothing to do with any test's own timeout.
   */
  bootTimeout?: Duration
  /**
   * `'each'`: every test begins with the VMs as they were before the first one, with what `beforeAll`
   * did to them; they are taken back, not booted anew. By default a test finds what the ones before it
   * left.
   */
  reset?: 'each'
}

/** As many VMs as are certain, and perhaps more, so that `[a, b]` of two needs no check. */
type AtLeast<N, Known extends Vm[] = []> = N extends number
  ? number extends N
    ? Vm[]
    : Known['length'] extends N | 32
      ? [...Known, ...Vm[]]
      : AtLeast<N, [...Known, Vm]>
  : Vm[]

/** One attempt at a test: its scope and its reset. */
export interface Turn {
  scope: Scope
  reset: Reset | undefined
}

const KEYS = ['vms', 'vm', 'backend', 'duts', 'bootTimeout', 'reset']

/**
 * A Vitest test API whose tests have VMs. Call it at the top level of a spec file: the VMs start
 * before the file's first hook, all in parallel, and are gone after its last.
 *
 * Fixtures: `duts` and `dut`; `vms` (DUT by DUT, in order) and `vm`; `backends` and `backend`. All can
 * be used in hooks too.
 *
 * @throws UsageError for an unknown option
 */
export function dutTest<B = undefined, const N extends VmCount = number>(
  options: DutTestOptions<B, N> = {},
) {
  checkKeys('dutTest', options, KEYS)
  const { bootTimeout, reset, ...rest } = options
  if (reset !== undefined && reset !== 'each') {
    throw new UsageError(`dutTest: reset: ${JSON.stringify(reset)} is unknown`, {
      hint: `'each', or leave it out`,
    })
  }
  const bootTimeoutMs =
    bootTimeout === undefined ? undefined : parseDuration(bootTimeout, 'dutTest: bootTimeout')

  const provision = new Provision<B>((file) => {
    const suite = Worker.here().suite<B>(file, { ...rest, bootTimeoutMs })
    const start = async () => {
      const fleet = await suite.start()
      return { fleet, reset: reset && new Reset(fleet.vms) }
    }
    let started: ReturnType<typeof start> | undefined
    return { ...suite, start: () => (started ??= start()) }
  })
  const test = extendAtOnce(
    makeTestApi(() => provision.use()),
    (api) =>
      api
        .extend('dutProvided', { scope: 'file' }, ({}) =>
          provision.get(expect.getState().testPath ?? 'suite'),
        )
        .extend('duts', { scope: 'file' }, ({ dutProvided }): Dut[] => dutProvided.fleet.duts)
        .extend('dut', { scope: 'file' }, ({ duts }): Dut => duts[0] as Dut)
        .extend('vms', { scope: 'file' }, ({ dutProvided }) => dutProvided.fleet.vms as AtLeast<N>)
        .extend('vm', { scope: 'file' }, ({ dutProvided }): Vm => dutProvided.fleet.vms[0] as Vm)
        .extend('backends', { scope: 'file' }, ({ dutProvided }): B[] => dutProvided.fleet.backends)
        .extend('backend', { scope: 'file' }, ({ backends }): B => backends[0] as B)
        // The first fixture of each test that has it, and so the last that is cleaned up.
        .extend('dutTurn', { scope: 'test' }, ({ dutProvided }, { onCleanup }): Turn => {
          const scope = Scope.owner()
          onCleanup(() => scope.end(new Error('the test is over')))
          return { scope, reset: dutProvided.reset }
        }),
  )
  test.beforeAll(() => void Worker.here())
  return test
}
