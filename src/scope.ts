import { AsyncLocalStorage } from 'node:async_hooks'
import { anySignal } from './wait.ts'

interface Scope {
  signal: AbortSignal
  cleanups: (() => Promise<void>)[]
}

const current = new AsyncLocalStorage<Scope>()

/**
 * Runs `fn` so that everything that waits inside it, however deep, stops when `signal` is aborted, and
 * what was {@link defer}red inside it is done when it has ended. This is how a command in a VM ends
 * with the test that gave it, although Vitest does not stop the body of a test that has timed out.
 */
export async function withScope<T>(signal: AbortSignal, fn: () => Promise<T>): Promise<T> {
  const scope: Scope = { signal, cleanups: [] }
  const errors: unknown[] = []
  const note = (error: unknown) => void errors.push(error)
  const result = await current.run(scope, fn).catch(note)
  // Each is done although another failed; what failed first is the one to tell.
  while (scope.cleanups.length > 0) await scope.cleanups.pop()?.().catch(note)
  if (errors.length > 0) throw errors[0]
  return result as T
}

/** The signals given, and the one of the surrounding {@link withScope}, as one. */
export function stopSignal(...signals: (AbortSignal | undefined)[]): AbortSignal | undefined {
  return anySignal(current.getStore()?.signal, ...signals)
}

/** Has `cleanup` done at the end of the surrounding scope; false where there is none. */
export function defer(cleanup: () => Promise<void>): boolean {
  const scope = current.getStore()
  scope?.cleanups.push(cleanup)
  return scope !== undefined
}

/** Runs `fn` outside of any scope: what it starts belongs to more than the test that asked first. */
export function outsideScope<T>(fn: () => T): T {
  return current.exit(fn)
}
