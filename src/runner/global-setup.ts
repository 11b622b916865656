import type { TestProject } from 'vitest/node'
import { DutError } from '../errors.ts'
import { optionsOf } from './plugin.ts'
import { openRun, provide, provideRefusal } from './run.ts'

/** Vitest's global set-up: runs in the main process, once for each project that has a test to run. */
export default async function setup(project: TestProject): Promise<void> {
  try {
    provide(project, await openRun(project), optionsOf(project))
  } catch (error) {
    if (!(error instanceof DutError)) throw error
    // Vitest would call it unhandled. So each suite that needs the run's folder tells it as its own.
    provideRefusal(project, error, optionsOf(project))
  }
  // The run's folder is removed when Vitest closes, not in a teardown here: that would race with the
  // workers, which may still be cleaning up.
}
