import { AbortController, anySignal } from '../abort.ts'
import { asError, UsageError } from '../errors.ts'
import { checkInteger } from '../options.ts'
import { outsideScope } from '../scope.ts'
import type { VmSpec } from '../vm/spec/spec.ts'
import type { Vm } from '../vm/vm.ts'

import { admitPlans } from './admit-plans.ts'
import type { Dut } from './dut.ts'

type Cleanup = () => Promise<void> | void

export interface BackendContext {
  /** Called when the suite's VMs are gone; in the reverse order of registration. */
  onCleanup(cleanup: Cleanup): void
}

export interface VmContext<B> {
  dut: Dut
  /** 0 for the first VM of the DUT. */
  index: number
  /** What `backend` returned for the DUT. */
  backend: B
}

export interface FleetOptions<B> {
  /** How many VMs on each DUT; 1 where none is given. */
  vms?: number | ((dut: Dut) => number)
  vm?: VmSpec | ((context: VmContext<B>) => VmSpec | Promise<VmSpec>)
  /** Runs on each DUT before its VMs start: a switch, a testpmd. */
  backend?: (dut: Dut, context: BackendContext) => B | Promise<B>
}

/** All VMs of a suite, on all its DUTs. */
export interface Fleet<B> extends AsyncDisposable {
  duts: Dut[]
  /** DUT by DUT, in order. */
  vms: Vm[]
  /** One for each DUT. */
  backends: B[]
  /** Ends the VMs, then the backends, then the DUTs' folders. Calling it again does nothing more. */
  stop(): Promise<void>
}

/**
 * Starts a suite's VMs on all its DUTs in parallel: all of them, or none where one fails.
 *
 * @throws the error of the VM or backend that failed first; everything else has been stopped then
 */
export async function startFleet<B>(
  duts: readonly Dut[],
  { vms = 1, vm = {}, backend }: FleetOptions<B>,
  { signal }: { signal?: AbortSignal } = {},
): Promise<Fleet<B>> {
  // One list for each DUT: backends start in parallel, and their order must not depend on it.
  const cleanups = duts.map((): Cleanup[] => [])
  let stopping: Promise<void> | undefined
  const stop = () => {
    stopping ??= outsideScope(() => stopAll(duts, cleanups.flat()))
    return stopping
  }
  const failure = new AbortController()
  const abort = anySignal(failure.signal, signal) ?? failure.signal
  const plan = async (dut: Dut, mine: Cleanup[]) => {
    const made = (await dut.runBackend(async () =>
      backend?.(dut, { onCleanup: (cleanup) => void mine.push(cleanup) }),
    )) as B
    abort.throwIfAborted()
    const count = typeof vms === 'function' ? vms(dut) : vms
    checkInteger('vms', count, 0, 1000)
    const specs = await Promise.all(
      Array.from({ length: count }, (_, index) =>
        typeof vm === 'function' ? vm({ dut, index, backend: made }) : nameless(vm, count),
      ),
    )
    return { dut, backend: made, plan: dut.plan(specs) }
  }
  try {
    const planned = await all(
      failure,
      duts.map((dut, i) => plan(dut, cleanups[i] ?? [])),
    )
    // The host is asked once for all of them: a suite never holds a part of what it needs.
    const leases = await admitPlans(
      planned.map(({ dut, plan }) => dut.applying(plan)),
      { signal: abort },
    )
    const started = await all(
      failure,
      planned.map(({ dut, plan }, i) => dut.startPlan(plan, leases[i] ?? [], { signal: abort })),
    )
    return {
      duts: [...duts],
      vms: started.flat(),
      backends: planned.map(({ backend }) => backend),
      stop,
      [Symbol.asyncDispose]: stop,
    }
  } catch (error) {
    await stop().catch(() => {}) // the first error is the one to tell
    throw error
  }
}

/** What all of them come to; or, once all have ended, the error of the first that failed. */
async function all<T>(failure: AbortController, parts: Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(
    parts.map((part) =>
      part.catch((error) => {
        failure.abort(asError(error))
        throw error
      }),
    ),
  )
  failure.signal.throwIfAborted()
  return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
}

/** One spec for several VMs cannot name them. */
function nameless(spec: VmSpec, count: number): VmSpec {
  if (count > 1 && spec?.name !== undefined) {
    throw new UsageError(`vm: ${count} VMs cannot all be named ${JSON.stringify(spec.name)}`, {
      hint: 'give a function: vm: ({ index }) => ({ name: `node${index}` })',
    })
  }
  return spec
}

async function stopAll(duts: readonly Dut[], cleanups: Cleanup[]): Promise<void> {
  const errors: unknown[] = []
  const note = (error: unknown) => void errors.push(error)
  await Promise.all(duts.map((dut) => dut.stopVms().catch(note)))
  while (cleanups.length > 0) {
    try {
      await cleanups.pop()?.()
    } catch (error) {
      note(error)
    }
  }
  await Promise.all(duts.map((dut) => dut.close().catch(note)))
  if (errors.length > 0) throw errors[0]
}
