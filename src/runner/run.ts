import type { TestProject, Vitest } from 'vitest/node'
import type { DutError } from '../errors.ts'
import { openRunFolder, type RunFolder } from '../fleet/run-folder.ts'
import { localHost } from '../host/local.ts'
import { serveChannel, type ToMain } from './channel.ts'
import type { ResolvedPluginOptions } from './options.ts'
import { ProgressView } from './progress-view.ts'
import { sharedMap } from './shared.ts'
import type { SuiteSummary } from './summary.ts'

/** One `vitest` invocation, in the main process: its folder, its channel to the workers, its screen. */
export interface Run {
  folder: RunFolder
  channel: string
  suites: Map<string, SuiteSummary>
  view: ProgressView
  close(): Promise<void>
}

const opened = sharedMap<Vitest, Promise<Run>>('runs')

/** The run that a project belongs to; opened by the first project of it that has a test to run. */
export function openRun({ vitest }: TestProject): Promise<Run> {
  const run = opened.get(vitest) ?? open(vitest)
  opened.set(vitest, run)
  return run
}

/** The run, where one was opened. */
export async function currentRun(vitest: Vitest): Promise<Run | undefined> {
  return opened.get(vitest)?.catch(() => undefined) // the suites tell why it could not be opened
}

async function open(vitest: Vitest): Promise<Run> {
  const folder = await openRunFolder(localHost())
  const suites = new Map<string, SuiteSummary>()
  const view = new ProgressView({
    write: (text) => void process.stderr.write(text),
    isTTY: process.stderr.isTTY === true && process.env.CI === undefined,
    columns: process.stderr.columns || 80,
  })
  const hear = (message: ToMain) => {
    if (message.type === 'progress') view.show(message.suite, message.progress)
    else suites.set(message.suite, { suite: message.suite, vms: message.vms, notes: [] })
  }
  const channel = `${folder.path}/main`
  const server = await serveChannel(channel, hear)
  // A suite's set-up runs in a hook, which Vitest does not tell of a cancelled run.
  vitest.onCancel((reason) => server.tellAll({ type: 'cancel', reason }))
  return {
    folder,
    channel,
    suites,
    view,
    close: async () => {
      opened.delete(vitest)
      server.close()
      await folder.close()
    },
  }
}

/** What the workers of a project are given. */
export function provide(project: TestProject, run: Run, options: ResolvedPluginOptions): void {
  const { folder, channel } = run
  project.provide('vitestDut', {
    root: project.vitest.config.root,
    folder: folder.path,
    channel,
    options,
  })
}

/** Tells the workers why the run could not be opened. */
export function provideRefusal(
  project: TestProject,
  { shortMessage: message, hint }: DutError,
  options: ResolvedPluginOptions,
): void {
  const { root } = project.vitest.config
  project.provide('vitestDut', {
    ...{ root, folder: '', channel: '', options },
    refusal: { message, ...(hint !== undefined && { hint }) },
  })
}
