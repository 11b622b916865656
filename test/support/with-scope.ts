import { Scope } from '../../src/scope.ts'

/** Runs `fn` as if it were a test: it is over when `fn` has ended, and for good when `signal` is aborted. */
export async function withScope<T>(signal: AbortSignal, fn: () => Promise<T>): Promise<T> {
  const scope = Scope.owner()
  const errors: unknown[] = []
  const note = (error: unknown) => void errors.push(error)
  const result = await scope.runUntil(signal, fn).catch(note)
  await scope.end(new Error('the test is over')).catch(note)
  if (errors.length > 0) throw errors[0]
  return result as T
}
