import { DutError } from './errors.ts'

const placed = new WeakSet<Error>()

/**
 * Runs `fn` so that an error of ours that comes out of it has the stack of whoever called `method`.
 * Such errors are born in timers and socket callbacks; with their own stacks, Vitest could not show
 * the line of the spec that waited.
 *
 * @param method the public function that the user called; frames above it are left out
 */
export async function atCallSite<T>(method: object, fn: () => Promise<T>): Promise<T> {
  const site: { stack?: string } = {}
  Error.captureStackTrace(site, method as () => void)
  try {
    return await fn()
  } catch (error) {
    if (error instanceof DutError && !placed.has(error)) {
      placed.add(error)
      const frames = site.stack?.slice(site.stack.indexOf('\n')) ?? ''
      error.stack = `${error.name}: ${error.message}${frames}`
    }
    throw error
  }
}
