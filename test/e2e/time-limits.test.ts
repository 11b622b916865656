// A test that is too slow is stopped, and whatever comes after it can still ask the guest what happened.
import { describe } from 'vitest'
import { dutTest, expect } from 'vitest-dut'

const evidence: Record<string, string> = {}
const ask = async (name: string, fn: () => Promise<string>) => {
  if (name in evidence) return // the slow test's is wanted
  evidence[name] = await fn().catch((error: Error) => `FAILED: ${error.message.split('\n')[0]}`)
}

const test = dutTest({ vms: 1, vm: { memory: '256M' } }).extend(
  'probe',
  { scope: 'test' },
  ({ vm }, { onCleanup }) => {
    onCleanup(() =>
      ask('clean-up of a fixture', async () => String(await vm.copyOut('/proc/version'))),
    )
    return 1
  },
)

describe('a test that is too slow', () => {
  test.beforeEach(({ vm }) => async () => {
    await ask('clean-up of beforeEach', async () => (await vm.exec('echo cleanup')).stdout)
  })
  test.afterEach(async ({ vm }) => {
    await ask('afterEach: exec', async () => (await vm.exec('echo after')).stdout)
    await ask('afterEach: cmd', async () => (await vm.cmd('echo typed', '', '30s')).output)
    await ask('afterEach: session', async () => {
      await using session = await vm.session()
      return (await session.cmd('echo session')).output
    })
    await ask('afterEach: console.expect', async () => {
      vm.console.write('echo by-hand\n')
      return vm.console.expect('by-hand', '15s')
    })
    await ask('afterEach: spawn', async () => {
      const program = await vm.spawn('bash --norc', { prompt: /[$#] / })
      return (await program.cmd('echo spawned')).output
    })
  })

  let bodyEndedMs = 0
  test.fails('is stopped', { timeout: 2000 }, async ({
    vm,
    dut,
    probe,
    onTestFailed,
    onTestFinished,
  }) => {
    expect(probe).toBe(1)
    onTestFailed(() => ask('onTestFailed', async () => (await vm.exec('echo failed')).stdout))
    onTestFinished(() => ask('onTestFinished', async () => (await vm.exec('echo finished')).stdout))
    onTestFinished(() => ask('dut.exec', async () => (await dut.exec('echo host')).stdout))
    const startedAt = performance.now()
    await vm.exec('sleep 100').catch(() => {})
    bodyEndedMs = performance.now() - startedAt
    const more = [vm.exec('true'), vm.cmd('true'), vm.session(), vm.spawn('true'), dut.exec('true')]
    const ended = await Promise.allSettled(more)
    evidence.more = ended.map((one) => one.status === 'rejected' && one.reason.message).join('\n')
  })

  test('and does nothing more, although it goes on', () => {
    expect(bodyEndedMs).toBeGreaterThan(1000)
    expect(bodyEndedMs).toBeLessThan(10_000)
    expect(evidence.more?.match(/Test timed out in 2000ms/g)).toHaveLength(5)
  })

  test.for([
    ['afterEach: exec', 'after\n'],
    ['afterEach: cmd', 'typed\n'],
    ['afterEach: session', 'session\n'],
    ['afterEach: console.expect', 'by-hand'],
    ['afterEach: spawn', 'spawned'],
    ['clean-up of beforeEach', 'cleanup\n'],
    ['clean-up of a fixture', 'Linux'],
    ['onTestFailed', 'failed\n'],
    ['onTestFinished', 'finished\n'],
    ['dut.exec', 'host\n'],
  ])('leaves a VM that answers in %s', ([name = '', text = '']) => {
    expect(evidence[name]).toContain(text)
  })
})

let tries = 0
test('a retry after a time-out can use the VM', { timeout: 1500, retry: 2 }, async ({ vm }) => {
  tries += 1
  expect((await vm.exec(`echo ${tries}`)).stdout).toBe(`${tries}\n`)
  if (tries < 3) await vm.cmd('sleep 100', '', '60s')
})
test('and the console is free then', async ({ vm }) => {
  expect(tries).toBe(3)
  expect((await vm.cmd('echo free')).output).toBe('free\n')
})
