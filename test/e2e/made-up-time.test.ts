// Timers and clocks that a test has replaced are the test's only.
import { afterAll, vi } from 'vitest'
import { CommandTimeoutError, dutTest, expect } from 'vitest-dut'
import { readLedger } from '../../src/lease/ledger/records.ts'
import { waitFor } from '../../src/wait.ts'

const test = dutTest({ vms: 1, vm: { memory: '256M' } })
const T = { timeout: 120_000 }
const within = <T>(timeoutMs: number, promise: Promise<T>) => waitFor(promise, { timeoutMs })

test.beforeEach(() => {
  vi.useFakeTimers({ now: new Date('1999-12-31') })
})
test.afterEach(() => {
  vi.useRealTimers()
})

test('commands end, and take as long as they take', T, async ({ vm, dut }) => {
  expect((await within(30_000, vm.cmd('echo ok'))).output).toBe('ok\n')
  expect((await within(30_000, vm.exec('sleep 1'))).durationMs).toBeGreaterThan(900)
  expect((await within(30_000, dut.exec('sleep 1'))).durationMs).toBeGreaterThan(900)
  await within(30_000, vm.copyIn('x', '/tmp/x'))
  await using session = await within(30_000, vm.session())
  expect((await within(30_000, session.cmd('echo ok'))).output).toBe('ok\n')
})

test('deadlines of a step, an exec and a program on the host are kept', T, async ({ vm, dut }) => {
  const late = await Promise.all([
    within(30_000, vm.cmd('sleep 100', '', '1s')).catch((error) => error),
    within(30_000, vm.exec('sleep 100', { timeout: '1s' })).catch((error) => error),
    within(30_000, dut.exec('sleep 100', { timeout: '1s' })).catch((error) => error),
  ])
  for (const error of late) expect(error).toBeInstanceOf(CommandTimeoutError)
  expect((await within(30_000, vm.cmd('echo free'))).output).toBe('free\n')
})

test('a snapshot is taken and a VM is taken back to it', T, async ({ vm }) => {
  const snapshot = await within(60_000, vm.snapshot())
  await within(60_000, vm.restore(snapshot))
})

test('a VM comes and goes, with the right time', T, async ({ dut }) => {
  const vm = await within(90_000, dut.start({ memory: '256M' }))
  const { stdout } = await within(30_000, vm.exec('date +%Y'))
  expect(Number(stdout)).toBeGreaterThan(2020)
  await within(60_000, dut.stop(vm))
})

test('a lease says since when it is held', T, async ({ dut }) => {
  await within(30_000, dut.lease('name', `made-up-${process.pid}`))
  const { leases } = await within(30_000, readLedger(dut.host))
  const ages = leases.filter(({ dir }) => dir === dut.dir).map(({ holder }) => holder.since)
  expect(ages.length).toBeGreaterThan(0)
  expect(Math.min(...ages)).toBeGreaterThan(new Date('2020-01-01').getTime())
})

test('a busy test does not lose answers that have come meanwhile', T, async ({ vm, dut }) => {
  const answers = [
    vm.exec('echo vm', { timeout: '300ms' }),
    dut.exec('echo dut', { timeout: '300ms' }),
  ]
  vi.useRealTimers()
  await waitFor(new Promise(setImmediate))
  const until = performance.now() + 2000
  while (performance.now() < until);
  expect((await Promise.all(answers)).map(({ stdout }) => stdout)).toEqual(['vm\n', 'dut\n'])
})

afterAll(() => {
  vi.useFakeTimers() // and the suite is torn down all the same
})
