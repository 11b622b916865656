import { aroundAll, aroundEach, type RunnerTestFile as File } from 'vitest'
import { Scope } from '../scope.ts'
import type { Turn } from './dut-test.ts'
import { withFleets } from './provision.ts'
import { inFile } from './scopes.ts'

// Vitest's set-up file, in every worker. Ctrl-C reaches the whole foreground process group; what it
// means is for the main process to decide, which then has the workers tear down in order. (SIGTERM is
// left alone: it is how Vitest itself ends a worker.)
const INSTALLED = Symbol.for('vitest-dut.signals')
const globals = globalThis as { [INSTALLED]?: boolean }

if (!globals[INSTALLED]) {
  globals[INSTALLED] = true
  process.on('SIGINT', () => {})
  process.on('SIGHUP', () => {})
}

// Around all hooks and fixtures of each file. The VMs' start has its own deadline: 0 keeps Vitest's
// out of it.
aroundAll((runFile, {}, file) => withFleets(file as File, () => inFile(file as File, runFile)), 0)

// The time limit stops what waits then; the hooks that come then can talk to the VMs. A file may have
// other tests as well, which have no fixtures.
aroundEach<{ dutTurn?: Turn }>(async (runTest, { dutTurn, signal }) => {
  const scope = dutTurn?.scope ?? Scope.owner()
  const run = () => scope.runUntil(signal, runTest, { once: true })
  await (dutTurn?.reset?.before(run) ?? run())
  if (dutTurn === undefined) await scope.end(new Error('the test is over'))
})
