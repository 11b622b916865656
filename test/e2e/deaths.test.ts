import { dutTest, expect, type Vm } from 'vitest-dut'
import { isRunning } from '../support/processes.ts'

const test = dutTest({ vms: 0 })

/** Rejects the wait of a `cmd`, a `spawn`ed program and a `console.expect`; resolves with how. */
async function waits(vm: Vm, die: () => Promise<unknown> | unknown) {
  const program = await vm.spawn('cat')
  const waiting = [
    vm.cmd('echo waiting; sleep 1000', 'never', '10m'),
    program.expect('never', '10m'),
    vm.exec('sleep 1000', { timeout: '10m' }),
  ].map((wait) =>
    wait.then(
      () => expect.unreachable(),
      (error: Error) => ({ message: error.message, name: error.name, at: performance.now() }),
    ),
  )
  await vm.console.expect('waiting', '10s')
  const startedAt = performance.now()
  await die()
  return { ends: await Promise.all(waiting), startedAt }
}

test('a kernel panic rejects every wait with its text', async ({ dut }) => {
  const vm = await dut.start()
  let seenAt = 0
  const watch = setInterval(() => {
    if (seenAt === 0 && vm.kernelLog.includes('Kernel panic')) seenAt = performance.now()
  }, 5)
  const { ends } = await waits(vm, () => {
    vm.exec('echo c > /proc/sysrq-trigger').catch(() => {})
  })
  clearInterval(watch)
  if (seenAt === 0) seenAt = Math.min(...ends.map(({ at }) => at))
  for (const { message, name, at } of ends) {
    expect(name).toBe('VmDiedError')
    expect(message).toMatch(/dut0\/vm0: kernel panic: .*sysrq triggered crash/)
    expect(message).toMatch(/\| .*Kernel panic - not syncing/)
    expect(at - seenAt).toBeLessThan(200)
  }
  await expect(vm.cmd('true')).rejects.toThrow(/kernel panic/)
  await expect.poll(() => vm.state).toBe('stopped')
})

test('a killed QEMU rejects every wait and says how it ended', async ({ dut }) => {
  const vm = await dut.start()
  let goneAt = Number.POSITIVE_INFINITY
  const watch = setInterval(() => {
    if (!isRunning(vm.pid)) goneAt = Math.min(goneAt, performance.now())
  }, 2)
  const { ends } = await waits(vm, () => process.kill(vm.pid, 'SIGKILL'))
  clearInterval(watch)
  for (const { message, at } of ends) {
    expect(message).toMatch(/QEMU was killed by SIGKILL/)
    expect(at - Math.min(goneAt, at)).toBeLessThan(200)
  }
})

test('a power-off and a reboot by the guest say so', async ({ dut }) => {
  const [off, reset] = (await dut.startAll([{}, {}])) as [Vm, Vm]
  const powerOff = await waits(off, () => off.exec('poweroff').catch(() => {}))
  expect(powerOff.ends[0]?.message).toMatch(/the guest powered itself off/)
  const reboot = await waits(reset, () => reset.exec('reboot').catch(() => {}))
  expect(reboot.ends[0]?.message).toMatch(/the guest reset itself/)
})

test('shutdown, stop and kill resolve when QEMU is gone', async ({ dut }) => {
  const vms = await dut.startAll([{}, {}, {}])
  const [a, b, c] = vms as [Vm, Vm, Vm]
  await Promise.all([a.shutdown(), b.stop(), c.kill()])
  for (const vm of vms) {
    expect(vm.state).toBe('stopped')
    expect(() => process.kill(vm.pid, 0)).toThrow(/ESRCH/)
  }
})

test('a paused VM answers after it was resumed', async ({ dut }) => {
  const vm = await dut.start()
  await vm.pause()
  expect(vm.state).toBe('paused')
  await expect(vm.exec('true', { timeout: '300ms' })).rejects.toThrow(/did not end in time/)
  await vm.resume()
  expect((await vm.exec('echo back')).stdout).toBe('back\n')
})

test('a backend that dies rejects the waits of its VMs; they themselves live on', async ({
  dut,
}) => {
  const backend = await dut.runBackend(() =>
    dut.spawn('echo "pid $$"; exec sleep 1000', { prompt: /pid \d+/ }),
  )
  const pid = /pid (\d+)/.exec(backend.console.text)?.[1]
  const vm = await dut.start()
  const { ends, startedAt } = await waits(vm, () => dut.exec(`kill -9 ${pid}`))
  for (const { message, at } of ends) {
    expect(message).toMatch(/the backend that vm0 leans on is gone/)
    expect(at - startedAt).toBeLessThan(1000)
  }
  expect(await backend.exited).toBe(137)
  expect((await vm.cmd('echo alive')).output).toBe('alive\n')
})
