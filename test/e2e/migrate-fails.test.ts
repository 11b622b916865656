import { existsSync, readdirSync } from 'node:fs'
import {
  dutTest,
  expect,
  InfrastructureError,
  link,
  tap,
  UsageError,
  type Vm,
  VmDiedError,
} from 'vitest-dut'
import { poll } from '../../src/wait.ts'
import { leasesOfUs } from '../support/leases.ts'
import { isRunning, processesWith } from '../support/processes.ts'

/** Slow enough that there is time for anything. */
const SLOW = { bandwidth: '4M' } as const

const test = dutTest({
  vms: 2,
  vm: ({ index }) => ({ memory: '192M', boot: 'cold', devices: index === 0 ? [link('lan')] : [] }),
})

/** Those of the QEMUs of a VM: the first one's files are in the VM's own. */
function folders({ dut, name }: Vm): string[] {
  const { dir } = dut as typeof dut & { dir: string }
  return readdirSync(`${dir}/${name}`).filter((one) => /^\d+$/.test(one))
}

/** The second QEMU of a VM that is being migrated. */
const secondOf = ({ dut, name, pid }: Vm) =>
  processesWith(`${(dut as typeof dut & { dir: string }).dir}/${name}/`).find(
    (one) => one.pid !== pid && one.command.includes('-incoming'),
  )?.pid

/** Begins to move it, and has it be under way. */
async function begin(vm: Vm, options: Parameters<Vm['migrate']>[0] = {}) {
  const started = Promise.withResolvers<void>()
  const moving = vm.migrate({
    ...SLOW,
    ...options,
    onProgress: ({ transferred }) => transferred > 0 && started.resolve(),
  })
  moving.catch(() => {})
  await Promise.race([started.promise, moving])
  const second = secondOf(vm) as number
  expect(isRunning(second)).toBe(true)
  return { moving, second }
}

/** The VM is as if nothing had been, and nothing of the second QEMU is left. */
async function expectUnmoved(vm: Vm, { pid, second }: { pid: number; second: number }) {
  expect(vm.pid).toBe(pid)
  expect(isRunning(second)).toBe(false)
  expect(vm.state).toBe('running')
  expect(await vm.qmp('query-status')).toMatchObject({ status: 'running' })
  expect((await vm.cmd('echo $((6 * 7))')).output).toBe('42\n')
  expect((await vm.exec('echo works')).stdout).toBe('works\n')
  expect(folders(vm).length).toBeLessThanOrEqual(1)
  expect((await leasesOfUs()).filter(({ vm: name }) => name === vm.name)).toHaveLength(1)
}

test('the second QEMU dies', async ({ vm }) => {
  const { pid } = vm
  for (let i = 0; i < 3; i++) {
    const { moving, second } = await begin(vm)
    process.kill(second, 'SIGKILL')
    const error = await moving.catch((e) => e)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(
      /dut0\/vm0: it was not migrated, and runs on where it was: .*SIGKILL/,
    )
    expect(error.cause).toBeInstanceOf(VmDiedError)
    await expectUnmoved(vm, { pid, second })
  }
  await vm.migrate()
  expect((await vm.cmd('echo moved')).output).toBe('moved\n')
})

test('it takes too long', async ({ vm }) => {
  const { pid } = vm
  const under = vm.cmd('for i in 1 2 3 4; do sleep 1; echo $i; done')
  const { moving, second } = await begin(vm, { timeout: '3s' })
  const error = await moving.catch((e) => e)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toMatch(/it took too long/)
  expect(error.hint).toContain('bandwidth')
  expect((await under).output).toBe('1\n2\n3\n4\n')
  await expectUnmoved(vm, { pid, second })
})

test('it is cancelled, by a signal', async ({ vm }) => {
  const { pid } = vm
  const controller = new AbortController()
  const { moving, second } = await begin(vm, { signal: controller.signal })
  const reason = new Error('changed my mind')
  controller.abort(reason)
  const error = await moving.catch((e) => e)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toContain('changed my mind')
  expect(error.cause).toBe(reason)
  await expectUnmoved(vm, { pid, second })
})

// Faster than any bandwidth: it changes every page again and again.
const WRITER = `
memory = bytearray(64 << 20)
n = 0
while True:
    n = n % 255 + 1
    memory[::4096] = bytes([n]) * (len(memory) // 4096)
    if n == 1: print('writing', flush=True)
`

test('a guest that writes all the time does not arrive, and is asked to meanwhile', async ({
  vm,
}) => {
  const { pid } = vm
  await vm.copyIn(WRITER, '/root/writer.py')
  const writer = await vm.spawn('python3 /root/writer.py')
  await writer.expect('writing')
  const { moving, second } = await begin(vm, {
    ...{ bandwidth: '20M', timeout: '20s', downtimeLimit: '1ms' },
  })
  await expect(moving).rejects.toThrow('it took too long')
  await writer.close()
  await expectUnmoved(vm, { pid, second })
})

test('the second QEMU refuses', async ({ dut }) => {
  const nvme = await dut.start({
    name: 'nvme',
    extraArgs: [
      '-drive',
      'if=none,id=n,file=/dev/null,format=raw,readonly=on',
      '-device',
      'nvme,serial=n,drive=n',
    ],
  })
  const { pid } = nvme
  const error = await nvme.migrate().catch((e) => e)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toMatch(/not migrated.*(nvme|migrat)/)
  await expectUnmoved(nvme, { pid, second: 0 })
})

test('other calls meanwhile say what to wait for', async ({ vm }) => {
  const { moving } = await begin(vm, { timeout: '3s' })
  for (const call of [
    () => vm.migrate(),
    () => vm.pause(),
    () => vm.resume(),
    () => vm.snapshot(),
    () => vm.reset(),
    () => vm.restart(),
  ]) {
    const error = await call().catch((e) => e)
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toMatch(/while vm.migrate\(\) is under way/)
    expect(error.hint).toContain('vm.migrate()')
  }
  await moving.catch(() => {})
  await vm.pause()
  await expect(vm.migrate()).rejects.toThrow(/paused cannot be migrated/)
  await vm.resume()
})

test('its VM dies', async ({ dut }) => {
  const vm = await dut.start({ name: 'mortal', memory: '192M', boot: 'cold' })
  const { moving, second } = await begin(vm)
  await vm.kill()
  await expect(moving).rejects.toThrow(VmDiedError)
  await poll(() => !isRunning(second) || undefined, { timeoutMs: 10_000 })
  await dut.stop(vm)
  expect((await leasesOfUs()).filter(({ vm: name }) => name === 'mortal')).toEqual([])
})

test('its VM is stopped', async ({ dut }) => {
  const vm = await dut.start({ name: 'stopped', memory: '192M', boot: 'cold' })
  const { moving, second } = await begin(vm)
  const { pid } = vm
  await vm.stop()
  await expect(moving).rejects.toThrow('the VM is being stopped')
  expect([pid, second].filter(isRunning)).toEqual([])
  expect(existsSync(`${dut.dir}/stopped`)).toBe(false)
  expect((await leasesOfUs()).filter(({ vm: name }) => name === 'stopped')).toEqual([])
})

test('bad options, and VMs that cannot be migrated', async ({ vm, dut }) => {
  const bad: [unknown, RegExp, RegExp?][] = [
    [{ transprot: 'tcp' }, /unknown option "transprot"/, /"transport"/],
    [{ transport: 'rdma' }, /transport: "rdma" is unknown/, /'unix' or 'tcp'/],
    [{ timeout: 5 }, /write '5s'/],
    [{ downtimeLimit: '1h' }, /more than QEMU takes/],
    [{ bandwidth: 'fast' }, /bandwidth/],
    [{ to: { name: 'rack7' } }, /rack7 is another DUT than dut0/, /leave to out/],
    [{ devices: { nic7: link('x') } }, /unknown option "nic7"/, /nic0/],
    [{ devices: { nic0: tap() } }, /nic0 would not be the device that the guest has/],
    [{ onProgress: 'yes' }, /onProgress is not a function/],
  ]
  for (const [options, message, hint = /./] of bad) {
    const error = await vm.migrate(options as never).catch((e) => e)
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toMatch(message)
    expect(error.message).toMatch(hint)
  }
  const pinned = await dut.start({
    name: 'pinned',
    memory: '192M',
    boot: 'cold',
    cpus: { count: 1, pin: [0] },
  })
  await expect(pinned.migrate()).rejects.toThrow(/cpus.pin: 'auto'/)
})
