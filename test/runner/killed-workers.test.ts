import { type EventEmitter, once } from 'node:events'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { ForksPoolWorker } from 'vitest/node'
import { endWithKilledWorkers } from '../../src/runner/killed-workers.ts'
import { waitFor } from '../../src/wait.ts'
import { makeProject } from '../support/project.ts'

/** Vitest itself waits for a minute, or for ever. */
const SOON_MS = 30_000

/** A worker that ends itself when Vitest asks it to stop, or when it has just answered that. */
const spec = (when: 'asked' | 'answered', how: string) => `
import { test } from 'vitest'
const end = () => ${how}
const { send } = process
if (${when === 'asked'}) process.prependListener('message', (message) => {
  if (message?.type === 'stop') end()
})
else process.send = (message, ...rest) => {
  const sent = send.call(process, message, ...rest)
  if (message?.type === 'stopped') end()
  return sent
}
test('passes', () => {})
`
const KILL = `process.kill(process.pid, 'SIGKILL')`

describe('a worker that is gone while it closes', () => {
  test.each([
    ['killed when it is asked to stop', 'asked', KILL, 'signal SIGKILL'],
    ['crashed when it is asked to stop', 'asked', 'process.abort()', 'signal SIGABRT'],
    ['ended by itself without an answer', 'asked', 'process.reallyExit(3)', 'exit code 3'],
  ] as const)('is told of, and holds up nothing: %s', async (_, when, how, words) => {
    const project = makeProject({ 'a.spec.ts': spec(when, how), 'b.spec.ts': spec(when, how) })
    const { ended } = project.vitest('--maxWorkers=1')
    const { status, output } = await waitFor(ended, { timeoutMs: SOON_MS })
    expect(output).toContain(`Worker exited unexpectedly with ${words} while it closed`)
    expect(output).toMatch(/Tests +2 passed/)
    expect(status).toBe(1)
  })

  test('is no fault where it had answered before it was killed', async () => {
    const project = makeProject({ 'a.spec.ts': spec('answered', KILL) })
    const { status, output } = await waitFor(project.vitest().ended, { timeoutMs: SOON_MS })
    expect(output).toMatch(/Tests +1 passed/)
    expect(output).not.toContain('unexpectedly')
    expect(status).toBe(0)
  })

  test('is not waited for where a signal ended it before Vitest ends it', async () => {
    endWithKilledWorkers()
    endWithKilledWorkers() // of each project that has the plugin
    const logger = { outputStream: process.stdout, errorStream: process.stderr }
    const worker = new ForksPoolWorker({
      ...{ distPath: dirname(fileURLToPath(import.meta.resolve('vitest/node'))), env: {} },
      ...{ execArgv: [], project: { vitest: { logger } } },
    } as unknown as ConstructorParameters<typeof ForksPoolWorker>[0])
    await worker.start()
    const { fork } = worker as unknown as { fork: EventEmitter & { kill(signal: string): void } }
    const gone = once(fork, 'exit')
    fork.kill('SIGKILL')
    await gone
    await waitFor(worker.stop(), { timeoutMs: SOON_MS })
  })
})
