import { transferableAbortController } from 'node:util'

/*
 * Node's own classes for aborting. A test environment (happy-dom, jsdom) puts classes of its own into the
 * global scope before anything of this package is loaded, and Node does not take theirs for its own.
 */

const own = transferableAbortController()

export const AbortController = own.constructor as typeof globalThis.AbortController
export type AbortController = globalThis.AbortController

export const AbortSignal = own.signal.constructor as typeof globalThis.AbortSignal
export type AbortSignal = globalThis.AbortSignal

/** Gives a signal of Node's own: the given one, or one that is aborted with it. */
function ownSignal(signal: AbortSignal): AbortSignal {
  const isOwn: boolean = signal instanceof AbortSignal
  if (isOwn) return signal
  const controller = new AbortController()
  const abort = () => controller.abort(signal.reason)
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  return controller.signal
}

/** One signal for several reasons to stop; those that are undefined are left out. */
export function anySignal(signal: AbortSignal, ...more: (AbortSignal | undefined)[]): AbortSignal
export function anySignal(...signals: (AbortSignal | undefined)[]): AbortSignal | undefined
export function anySignal(...signals: (AbortSignal | undefined)[]): AbortSignal | undefined {
  const given = signals.filter((signal) => signal !== undefined).map(ownSignal)
  return given.length > 1 ? AbortSignal.any(given) : given[0]
}
