import { CommandTimeoutError, withHint } from '../errors.ts'
import type { Lifeline } from '../lifeline.ts'

/** The error; where it is a time-out without a hint, with what keeps everything from moving, if anything. */
export async function explained(error: unknown, life: Lifeline): Promise<unknown> {
  if (!(error instanceof CommandTimeoutError) || error.hint !== undefined) return error
  return withHint(error, await life.diagnose())
}
