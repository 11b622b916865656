import { constants } from 'node:os'
import { AbortController } from '../abort.ts'

const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const

/**
 * Runs what has to end in order: a signal aborts it, and once it has cleaned up the process has the
 * exit status of that signal's death, as in a shell. A second signal ends the process at once.
 *
 * @returns undefined where a signal came
 */
export async function untilSignal<T>(
  fn: (signal: AbortSignal) => Promise<T>,
): Promise<T | undefined> {
  const stop = new AbortController()
  const handlers = SIGNALS.map((name) => {
    const end = () => {
      process.exitCode = 128 + constants.signals[name]
      stop.abort(new Error(name))
    }
    process.once(name, end)
    return () => void process.off(name, end)
  })
  try {
    return await fn(stop.signal)
  } catch (error) {
    if (stop.signal.aborted) return undefined
    throw error
  } finally {
    for (const remove of handlers) remove()
  }
}
