import pLimit from 'p-limit'
import { AbortController, anySignal } from '../abort.ts'
import { asError, DutError } from '../errors.ts'
import { stopSignal } from '../scope.ts'
import { performance } from '../time.ts'
import type { ResolvedSpec } from '../vm/spec/spec.ts'
import type { Vm } from '../vm/vm.ts'

import type { ProgressListener } from './progress.ts'

interface StartAllOptions {
  dut: string
  /** How many start at once; all of them where none is given. */
  concurrency?: number
  signal?: AbortSignal
  onProgress?: ProgressListener
  start: (
    spec: ResolvedSpec,
    index: number,
    callbacks: { signal: AbortSignal; onStage: (stage: string) => void },
  ) => Promise<Vm>
}

/** Starts VMs in parallel; where one fails the others are stopped and its error is thrown. */
export async function startAll(
  specs: readonly ResolvedSpec[],
  { dut, concurrency = specs.length, signal, onProgress, start }: StartAllOptions,
): Promise<Vm[]> {
  const failure = new AbortController()
  const stop = anySignal(failure.signal, stopSignal(signal)) ?? failure.signal
  const limit = pLimit(Math.max(1, concurrency))
  let first: { vm: string; error: Error } | undefined
  const startedAt = performance.now()
  const starting = specs.map((spec, i) =>
    limit(async () => {
      const tell = (stage: string) => {
        const elapsedMs = performance.now() - startedAt
        onProgress?.({ kind: 'vm', dut, vm: spec.name, stage, elapsedMs, of: specs.length })
      }
      try {
        stop.throwIfAborted()
        return await start(spec, i, { signal: stop, onStage: tell })
      } catch (error) {
        first ??= { vm: spec.name, error: asError(error) }
        tell('failed')
        failure.abort(error)
        throw error
      }
    }),
  )
  const results = await Promise.allSettled(starting)
  const vms = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  if (first === undefined) return vms
  await Promise.allSettled(vms.map((vm) => vm.stop()))
  throw withTheRest(first.error, specs.length - 1)
}

function withTheRest(error: Error, others: number): Error {
  if (!(error instanceof DutError) || others === 0) return error
  error.message += `\n  (all or nothing: the other ${others === 1 ? 'VM was' : `${others} VMs were`} stopped)`
  return error
}
