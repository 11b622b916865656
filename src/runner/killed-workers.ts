import type { EventEmitter } from 'node:events'
import { constants } from 'node:os'
import { ForksPoolWorker } from 'vitest/node'

const PATCHED = Symbol.for('vitest-dut.killed-workers')

/** A worker's answer to Vitest's request that it stops. */
const STOPPED = { __vitest_worker_response__: true, type: 'stopped' } as const

/** Vitest's worker, and its process, as far as they are used here. */
interface ForkWorker {
  start(): Promise<void>
  readonly fork?: EventEmitter & { readonly connected: boolean }
  [PATCHED]?: true
}

/**
 * Ends Vitest's wait for the answer of a worker that was killed while it closed. Vitest asks a worker to
 * stop, no longer looks whether it runs, and waits a minute for the answer; and where a signal has ended
 * the worker, it waits for its end for ever, because such a process has no exit status. There is no public
 * way to tell it, so the answer is given in the worker's name.
 */
export function endWithKilledWorkers(): void {
  const prototype = ForksPoolWorker.prototype as unknown as ForkWorker
  if (prototype[PATCHED]) return
  prototype[PATCHED] = true
  const { start } = prototype
  prototype.start = async function (this: ForkWorker) {
    await start.call(this)
    const { fork } = this
    fork?.once('exit', (status: number | null, signal: NodeJS.Signals | null) => {
      Object.assign(fork, { exitCode: status ?? 128 + (signal ? constants.signals[signal] : 0) })
      const answer = () => void fork.emit('message', { ...STOPPED, error: killed(status, signal) })
      // An answer of its own may still be on its way.
      if (fork.connected) fork.once('disconnect', answer)
      else answer()
    })
  }
}

/** Nobody's mistake, so it points at no line. */
function killed(status: number | null, signal: NodeJS.Signals | null): Error {
  const how = signal ? `signal ${signal}` : `exit code ${status}`
  const error = new Error(`Worker exited unexpectedly with ${how} while it closed`)
  error.stack = `${error.name}: ${error.message}`
  return error
}
