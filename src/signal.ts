import { AsyncLocalStorage } from 'node:async_hooks'
import { anySignal } from './wait.ts'

const current = new AsyncLocalStorage<AbortSignal>()

/**
 * Runs `fn` so that everything that waits inside it, however deep, stops when `signal` is aborted.
 * This is how a command in a VM ends with the test that gave it, although Vitest does not stop the
 * body of a test that has timed out.
 */
export function withSignal<T>(signal: AbortSignal, fn: () => T): T {
  return current.run(signal, fn)
}

/** The signals given, and the one of the surrounding {@link withSignal}, as one. */
export function stopSignal(...signals: (AbortSignal | undefined)[]): AbortSignal | undefined {
  return anySignal(current.getStore(), ...signals)
}
