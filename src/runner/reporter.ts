import { relative } from 'node:path'
import type { Reporter, TestCase, Vitest } from 'vitest/node'
import { currentRun } from './run.ts'
import { SUMMARY_TITLE, summaryTable } from './summary.ts'

/** Keeps progress lines and Vitest's own output apart, and prints the closing table of suites that ask for it. */
export class DutReporter implements Reporter {
  readonly #vitest: Vitest

  constructor(vitest: Vitest) {
    this.#vitest = vitest
  }

  async onTestCaseResult(test: TestCase): Promise<void> {
    const run = await currentRun(this.#vitest)
    const suite = run?.suites.get(relative(this.#vitest.config.root, test.module.moduleId))
    const { state } = test.result()
    for (const { message } of test.annotations()) {
      suite?.notes.push({ test: test.name, state, text: message })
    }
  }

  async onTestRunEnd(): Promise<void> {
    const run = await currentRun(this.#vitest)
    run?.view.clear()
    if (run === undefined || run.suites.size === 0) return
    const table = summaryTable([...run.suites.values()])
    this.#vitest.logger.log(`\n${SUMMARY_TITLE}\n${table}\n`)
    run.suites.clear()
  }
}
