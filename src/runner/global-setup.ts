import type { TestProject } from 'vitest/node'
import { optionsOf } from './plugin.ts'
import { openRun, provide } from './run.ts'

/** Vitest's global set-up: runs in the main process, once for each project that has a test to run. */
export default async function setup(project: TestProject): Promise<void> {
  provide(project, await openRun(project), optionsOf(project))
  // The run's folder is removed when Vitest closes, not in a teardown here: that would race with the
  // workers, which may still be cleaning up.
}
