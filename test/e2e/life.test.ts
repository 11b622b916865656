import {
  dutTest,
  expect,
  GuestError,
  link,
  UsageError,
  userNet,
  type Vm,
  VmDiedError,
} from 'vitest-dut'
import { leasesOfUs } from '../support/leases.ts'
import { isRunning } from '../support/processes.ts'

const test = dutTest({
  vms: 2,
  vm: ({ index }) => ({
    memory: '192M',
    devices: [link('lan')],
    boot: index === 0 ? 'auto' : 'cold',
  }),
})

const bootId = async (vm: Vm) =>
  (await vm.exec('cat /proc/sys/kernel/random/boot_id', { check: true })).stdout

/** What is under way in a guest when it begins anew, and must end with `why`. */
async function withWork(vm: Vm, why: string, anew: () => Promise<void>) {
  const session = await vm.session()
  const program = await vm.spawn('sed -u s/h/j/')
  const under = [
    vm.cmd('sleep 1000'),
    vm.cmd('echo queued'),
    vm.exec('sleep 1000'),
    vm.exec('cat', { input: 'x'.repeat(300_000) }).then(() => vm.exec('sleep 1000')),
    session.cmd('sleep 1000'),
    program.exited.then((status) => expect.unreachable(`status ${status}`)),
  ]
  for (const one of under) one.catch(() => {})
  await vm.exec('touch /tmp/before')
  await anew()
  for (const one of under) await expect(one).rejects.toThrow(why)
}

async function expectNew(vm: Vm, before: string) {
  expect(vm.state).toBe('running')
  expect(await bootId(vm)).not.toBe(before)
  expect((await vm.exec('ls /tmp/before')).exitCode).not.toBe(0)
  expect((await vm.cmd(['hostname', 'echo "[$-]"'])).outputs).toEqual([
    `${vm.name}\n`,
    expect.stringMatching(/^\[.*i.*\]\n$/),
  ])
  expect((await (await vm.session()).cmd('echo $((6 * 7))')).output).toBe('42\n')
}

test.for([
  ['a clone', 0],
  ['a VM that booted cold', 1],
] as const)('a reset of %s: the guest boots anew, in the same QEMU', async ([, index], { vms }) => {
  const vm = vms[index] as Vm
  const { pid } = vm
  for (let i = 0; i < 2; i++) {
    const before = await bootId(vm)
    await withWork(vm, 'the VM was reset meanwhile', () => vm.reset())
    await expectNew(vm, before)
    expect(vm.pid).toBe(pid)
  }
})

test('guests that were reset reach each other', async ({ vms: [a, b] }) => {
  for (const [i, vm] of [a, b].entries()) {
    await vm?.exec(`ip addr add 10.0.0.${i + 1}/24 dev eth0; ip link set eth0 up`, { check: true })
  }
  expect((await a?.exec('ping -c 2 10.0.0.2'))?.stdout).toContain(' 0% packet loss')
})

test('a guest that hangs is reset, and one that is paused', async ({ vm }) => {
  const before = await bootId(vm)
  await vm.pause()
  await vm.reset()
  await expectNew(vm, before)
})

test('after a reset, one by the guest is the end of the VM', async ({ dut }) => {
  const vm = await dut.start({ name: 'once', memory: '192M' })
  await vm.reset()
  const waiting = vm.cmd('sleep 1000')
  waiting.catch(() => {})
  await vm.exec('echo b >/proc/sysrq-trigger').catch(() => {})
  await expect(waiting).rejects.toThrow(VmDiedError)
  await expect(vm.reset()).rejects.toThrow(VmDiedError)
})

test('a restart: the guest boots in a new QEMU, with what the VM has', async ({
  vms: [a, b],
  dut,
}) => {
  const devices = [link('lan'), userNet({ forward: [22] })]
  const vm = await dut.start({ name: 'again', memory: '192M', devices })
  const plugged = await vm.plug(link('other'))
  const snapshot = await vm.snapshot()
  const port = vm.forward(22)
  const leases = await leasesOfUs()
  for (let i = 0; i < 2; i++) {
    const { pid } = vm
    const before = await bootId(vm)
    await withWork(vm, 'the VM was restarted meanwhile', () => vm.restart())
    await expectNew(vm, before)
    expect(vm.pid).not.toBe(pid)
    expect(isRunning(pid)).toBe(false)
    expect(vm.forward(22)).toEqual(port)
  }
  const pids = new Map((await leasesOfUs()).map(({ vm: name, qemu }) => [name, qemu]))
  expect([...pids.keys()].toSorted()).toEqual(leases.map(({ vm: name }) => name).toSorted())
  expect(pids.get('again')).toBe(vm.pid)
  expect((await vm.ports()).map(({ id }) => id).toSorted()).toEqual(['nic0', 'nic1', plugged.id])
  await vm.exec('ip addr add 10.0.0.9/24 dev eth0; ip link set eth0 up', { check: true })
  await a?.exec('ip addr add 10.0.0.1/24 dev eth0; ip link set eth0 up')
  expect((await vm.exec('ping -c 2 10.0.0.1')).stdout).toContain(' 0% packet loss')
  await vm.restore(snapshot)
  expect((await vm.cmd('echo back')).output).toBe('back\n')
  await vm.migrate()
  await vm.restart()
  expect((await vm.cmd('echo on')).output).toBe('on\n')
  expect(b?.state).toBe('running')
})

test('a guest that does not power itself off runs on', async ({ dut }) => {
  const vm = await dut.start({ name: 'stubborn', memory: '192M' })
  await vm.exec('mkdir /tmp/x; mount --bind /dev/null $(readlink -f $(command -v poweroff))')
  const { pid } = vm
  const error = await vm.restart({ timeout: '500ms' }).catch((e) => e)
  expect(error).toBeInstanceOf(GuestError)
  expect(error.message).toContain('the guest did not power itself off')
  expect(vm.pid).toBe(pid)
  expect((await vm.cmd('echo on')).output).toBe('on\n')
  const dead = vm.gone
  await vm.kill()
  await expect.poll(() => dead.aborted).toBe(true)
})

test('a VM that is stopped while it starts again is gone', async ({ dut }) => {
  const vm = await dut.start({ name: 'short', memory: '192M' })
  const resetting = vm.reset()
  resetting.catch(() => {})
  await vm.exec('true').catch(() => {})
  await vm.stop()
  await expect(resetting).rejects.toThrow()
  expect(isRunning(vm.pid)).toBe(false)
  const other = await dut.start({ name: 'short2', memory: '192M' })
  const restarting = other.restart()
  restarting.catch(() => {})
  await other.stop()
  await expect(restarting).rejects.toThrow()
  expect(isRunning(other.pid)).toBe(false)
  const left = (await leasesOfUs()).filter(({ vm: name }) => String(name).startsWith('short'))
  expect(left).toEqual([])
})

test('calls in the wrong state say the next step', async ({ vm, dut }) => {
  await vm.pause()
  for (const call of [() => vm.restart(), () => vm.snapshot(), () => vm.migrate()]) {
    const error = await call().catch((e) => e)
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toMatch(/vm0: a VM that is paused cannot be (restarted|kept|migrated)/)
    expect(error.hint).toContain('vm.resume()')
  }
  const shutdown = await vm.shutdown({ timeout: '1s' }).catch((e) => e)
  expect(shutdown).toBeInstanceOf(UsageError)
  expect(shutdown.hint).toContain('vm.resume()')
  expect(vm.state).toBe('paused')
  await vm.pause() // again changes nothing
  await vm.resume()
  await vm.resume()
  expect((await vm.cmd('echo on')).output).toBe('on\n')
  await expect(vm.reset({ timeout: 5 })).rejects.toThrow(UsageError)

  const gone = await dut.start({ name: 'gone', memory: '192M' })
  await gone.stop()
  for (const call of [
    () => gone.pause(),
    () => gone.resume(),
    () => gone.reset(),
    () => gone.restart(),
    () => gone.shutdown(),
    () => gone.snapshot(),
    () => gone.migrate(),
    () => gone.cmd('true'),
  ]) {
    const error = await call().catch((e) => e)
    expect(error).toBeInstanceOf(VmDiedError)
    expect(error.message).toContain('gone: the VM was stopped')
    expect(error.hint).toContain('dut.start')
  }
  await gone.kill()
  await gone.stop()
  expect(gone.state).toBe('stopped')
})
