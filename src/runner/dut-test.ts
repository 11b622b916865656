import { test as base, expect } from 'vitest'
import { UsageError } from '../errors.ts'
import type { Dut } from '../fleet/dut.ts'
import type { FleetOptions } from '../fleet/fleet.ts'
import { Reset } from '../fleet/reset.ts'
import { checkKeys } from '../options.ts'
import { withScope } from '../scope.ts'
import { type Duration, parseDuration } from '../units.ts'
import type { Vm } from '../vm/vm.ts'
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

  const test = base
    // Released even where Vitest skips a file fixture's clean-up: when an afterAll throws, or the
    // file ends while the set-up is still under way.
    .extend('dutWorker', { scope: 'worker' }, ({}, { onCleanup }) => {
      const worker = new Worker()
      onCleanup(() => worker.close())
      return worker
    })
    .extend('dutFleet', { scope: 'file' }, ({ dutWorker }, { onCleanup }) => {
      const file = expect.getState().testPath ?? 'suite'
      const suite = dutWorker.suite<B>(file, { ...rest, bootTimeoutMs })
      onCleanup(() => suite.release())
      return suite.start()
    })
    .extend('duts', { scope: 'file' }, ({ dutFleet }): Dut[] => dutFleet.duts)
    .extend('dut', { scope: 'file' }, ({ duts }): Dut => duts[0] as Dut)
    .extend('vms', { scope: 'file' }, ({ dutFleet }) => dutFleet.vms as AtLeast<N>)
    .extend('vm', { scope: 'file' }, ({ dutFleet }): Vm => dutFleet.vms[0] as Vm)
    .extend('backends', { scope: 'file' }, ({ dutFleet }): B[] => dutFleet.backends)
    .extend('backend', { scope: 'file' }, ({ backends }): B => backends[0] as B)

    .extend('dutReset', { scope: 'file' }, ({ vms }) => new Reset(vms))

  // The set-up has its own deadline: 0 keeps Vitest's out of it.
  test.beforeAll(({ dutFleet }) => void dutFleet, 0)
  // A file may have other tests as well, which have no fixtures.
  if (reset === 'each') {
    test.aroundEach((runTest, { dutReset }) => dutReset?.before(runTest) ?? runTest())
  }
  test.aroundEach((runTest, { signal }) => withScope(signal, runTest))
  return test
}
