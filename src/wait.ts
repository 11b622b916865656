/**
 * Waiting, the only way it is done here: every wait has a deadline and ends at once when its signal
 * is aborted. Nothing outside this file starts timers.
 */

import { AbortController, anySignal } from './abort.ts'
import { clearTimeout, eventCount, performance, setImmediate, setTimeout } from './time.ts'

export interface WaitOptions {
  /** Milliseconds until `onTimeout` gives the error; none means for as long as the signal allows. */
  timeoutMs?: number
  /** Ends the wait with the signal's reason. */
  signal?: AbortSignal
  /** Makes the error of a wait that was too long; gets the milliseconds waited. */
  onTimeout?: (elapsedMs: number) => Error
}

/**
 * What `promise` resolves to, or the first of: its rejection, the deadline, the signal. The promise
 * itself goes on; give whatever made it the same signal when it should stop too.
 */
export function waitFor<T>(promise: PromiseLike<T>, options: WaitOptions = {}): Promise<T> {
  const { timeoutMs, signal } = options
  return new Promise<T>((resolve, reject) => {
    if (signal?.aborted) {
      promise.then(undefined, () => {}) // nobody else looks at how it ends
      return reject(signal.reason)
    }
    const startedAt = performance.now()
    const aborted = () => settle(() => reject(signal?.reason))
    const expired = async (limitMs: number) => {
      await caughtUp(performance.now() - startedAt - limitMs)
      // Node's timers may be early by a part of a millisecond.
      const elapsedMs = Math.max(limitMs, performance.now() - startedAt)
      settle(() => reject(timeoutError(options, elapsedMs)))
    }
    const timer =
      timeoutMs === undefined ? undefined : setTimeout(() => expired(timeoutMs), timeoutMs)
    let isSettled = false
    const settle = (how: () => void) => {
      if (isSettled) return
      isSettled = true
      clearTimeout(timer)
      signal?.removeEventListener('abort', aborted)
      how()
    }
    signal?.addEventListener('abort', aborted, { once: true })
    promise.then(
      (value) => settle(() => resolve(value)),
      (error) => settle(() => reject(error)),
    )
  })
}

function timeoutError({ timeoutMs, onTimeout }: WaitOptions, elapsedMs: number): unknown {
  try {
    return onTimeout?.(elapsedMs) ?? new Error(`timed out: ${timeoutMs} ms`)
  } catch (error) {
    return error
  }
}

/** For what takes several steps inside of this process, such as a file that is read. */
const STILL_MS = 5

/**
 * Resolves when what was there to be read has been read. An event loop that stood still (at a
 * breakpoint, in a long computation) runs its timers before it reads, so a timer that is late says
 * nothing about the answer that it waited for. This takes no longer than the loop was late.
 */
async function caughtUp(lateMs: number): Promise<void> {
  const until = performance.now() + lateMs
  let before: number
  do {
    before = eventCount()
    await turn()
    if (lateMs > STILL_MS) await delay(STILL_MS)
  } while (eventCount() !== before && performance.now() < until)
}

/**
 * Asks again and again until `probe` gives something other than undefined, for facts that nothing
 * announces (another process's file, a kernel counter).
 *
 * @param everyMs milliseconds between two questions
 */
export async function poll<T>(
  probe: () => Promise<T | undefined> | T | undefined,
  { everyMs = 10, ...options }: WaitOptions & { everyMs?: number } = {},
): Promise<T> {
  const stop = new AbortController()
  const signal = anySignal(stop.signal, options.signal)
  const asking = (async () => {
    for (;;) {
      const found = await probe()
      if (found !== undefined) return found
      await pause(everyMs, signal)
    }
  })()
  try {
    return await waitFor(asking, options)
  } finally {
    stop.abort()
    asking.catch(() => {})
  }
}

/** Resolves when what was ready to be read by now has been read. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return waitFor(delay(ms), { signal })
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
