import { performance as real } from 'node:perf_hooks'
import timers from 'node:timers'

/**
 * Node's own timers and clocks as they were when this was loaded: a test (`vi.useFakeTimers()`) or its
 * environment (jsdom) may replace the global ones, and a deadline must end all the same. Nothing else takes
 * them from the globals.
 */

export const { setTimeout, clearTimeout, setImmediate } = timers

/** Milliseconds of a clock that is never set. */
export const performance = { now: real.now.bind(real) }

/** The clock that people read. */
export const wallClock = { now: globalThis.Date.now }

/** How often the event loop has found something: bytes to be read, the end of a process, a file that was read. */
export function eventCount(): number {
  return real.nodeTiming.uvMetricsInfo.events
}
