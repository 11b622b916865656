import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CommandTimeoutError,
  dutTest,
  expect,
  InfrastructureError,
  UsageError,
  type Vm,
} from 'vitest-dut'

/* VMs whose CPUs do not run: by the host's fault, by the test's wish, or by the guest's. */

const test = dutTest({ vms: 0 })
const isRoot = process.getuid?.() === 0

const folder = mkdtempSync(join(tmpdir(), 'dut-still-'))
const small = join(folder, 'small')
test.afterAll(() => rmSync(folder, { recursive: true }))

const mount = (...args: string[]) => void execFileSync('mount', [...args, small], { stdio: 'pipe' })

/** How a call ends, and after how many milliseconds. */
async function ending(call: Promise<unknown>) {
  const startedAt = performance.now()
  const error = await call.then(
    () => undefined,
    (error: Error) => error,
  )
  return { error, ms: performance.now() - startedAt }
}

/** Waits for a guest in all ways. */
async function waits(vm: Vm) {
  const session = await vm.session()
  const program = await vm.spawn('cat')
  const all = [
    vm.exec('sleep 1000', { timeout: '10m' }),
    vm.cmd('echo waiting; sleep 1000', 'never', '10m'),
    session.cmd('sleep 1000', '', '10m'),
    program.expect('never', '10m'),
  ]
  const endings = all.map(ending)
  await vm.console.expect('waiting', '30s')
  return endings
}

/** New calls, in all ways. */
const calls = (vm: Vm) => [
  vm.exec('true'),
  vm.cmd('true'),
  vm.session(),
  vm.copyIn('x', '/run/x'),
  vm.console.expect('never'),
]

async function worksAgain(vm: Vm) {
  expect(vm.state).toBe('running')
  expect((await vm.exec('echo on')).stdout).toBe('on\n')
  expect((await vm.cmd('echo typed', '', '60s')).output).toBe('typed\n')
  await using session = await vm.session()
  expect((await session.cmd('echo here')).output).toBe('here\n')
}

test.skipIf(!isRoot)(
  'a disk of the host that is full: all calls say so, and go on once there is room',
  { timeout: 180_000 },
  async ({ dut }) => {
    execFileSync('mkdir', ['-p', small])
    mount('-t', 'tmpfs', '-o', 'size=24M', 'dut-still')
    const image = join(folder, 'image')
    writeFileSync(image, '')
    truncateSync(image, 2 ** 28)
    try {
      execFileSync('qemu-img', [
        ...['create', '-q', '-f', 'qcow2', '-b', image, '-F', 'raw', join(small, 'disk')],
      ])
      const vm = await dut.start({
        memory: '256M',
        disks: [{ file: join(small, 'disk'), snapshot: false }],
      })
      const find = 'grep -l disk0 /sys/block/*/serial'
      const { stdout } = await vm.exec(find, { check: true })
      const disk = `/dev/${stdout.split('/')[3]}`
      const waiting = await waits(vm)
      const write = `dd if=/dev/zero of=${disk} bs=1M count=60 oflag=direct`
      const { error } = await ending(vm.exec(write, { timeout: '10m' }))
      expect(vm.state).toBe('paused')
      expect(error).toBeInstanceOf(InfrastructureError)
      expect(error?.message).toBe(
        `dut0/vm0: the VM stands still: QEMU cannot write its disk disk0: No space left on device; the file system of ${small} is full\n→ make room in ${small}, then vm.resume() tries again`,
      )
      for (const end of await Promise.all(waiting)) expect(end.error?.message).toContain(small)
      for (const end of await Promise.all(calls(vm).map(ending))) {
        expect(end.error?.message).toContain(small)
        expect(end.ms).toBeLessThan(1000)
      }
      await expect(vm.snapshot()).rejects.toThrow(/paused cannot be kept[\s\S]*is full/)
      // It has no more room than before, so it stands still again.
      await vm.resume()
      await expect.poll(() => vm.state).toBe('paused')
      await expect(vm.exec('true')).rejects.toThrow(small)
      mount('-o', 'remount,size=200M')
      await vm.resume()
      await worksAgain(vm)
      await vm.stop()
    } finally {
      execFileSync('umount', ['-l', small])
    }
  },
)

test('a stop over QMP fails what waits and what comes, until the VM goes on', async ({ dut }) => {
  const vm = await dut.start({ memory: '256M' })
  const waiting = await waits(vm)
  await vm.qmp('stop')
  expect(vm.state).toBe('paused')
  const ends = await Promise.all([...waiting, ...calls(vm).map(ending)])
  for (const { error } of ends) {
    expect(error).toBeInstanceOf(UsageError)
    expect(error?.message).toContain(
      "it is paused by vm.qmp('stop')\n→ vm.resume(), or vm.qmp('cont')",
    )
  }
  await vm.qmp('cont')
  await worksAgain(vm)
  await vm.qmp('stop')
  await vm.resume()
  await worksAgain(vm)
  await vm.qmp('stop')
  await vm.reset()
  await worksAgain(vm)
})

test('a wait while the VM is paused on purpose goes on with it, or says why it is late', async ({
  dut,
}) => {
  const vm = await dut.start({ memory: '256M' })
  const waiting = vm.exec('sleep 1; echo done')
  await vm.pause()
  expect(vm.state).toBe('paused')
  for (const late of [
    vm.exec('true', { timeout: '300ms' }),
    vm.cmd('true', '', '300ms'),
    vm.console.expect('never', '300ms'),
  ].map(ending)) {
    const { error } = await late
    expect(error).toBeInstanceOf(CommandTimeoutError)
    expect((error as CommandTimeoutError).hint).toBe('the VM is paused: vm.resume() lets it go on')
  }
  await vm.resume()
  expect((await waiting).stdout).toBe('done\n')
  await worksAgain(vm)
})

test('a state that is saved, restored or reset leaves the VM running, as far as anybody sees', async ({
  dut,
}) => {
  const vm = await dut.start({ memory: '256M' })
  const states = new Set<string>()
  const watch = setInterval(() => states.add(vm.state), 1)
  const snapshot = await vm.snapshot()
  const ticking = vm.exec('echo fine')
  await ticking
  await vm.restore(snapshot)
  clearInterval(watch)
  expect([...states]).toEqual(['running'])
  await worksAgain(vm)
})

test('a QEMU that is stopped by a signal is named by calls that are late', async ({ dut }) => {
  const vm = await dut.start({ memory: '256M' })
  process.kill(vm.pid, 'SIGSTOP')
  const late = [vm.exec('true', { timeout: '300ms' }), vm.cmd('true', '', '300ms')].map(ending)
  for (const { error } of await Promise.all(late)) {
    expect(error?.message).toMatch(
      new RegExp(`\n→ QEMU itself was stopped by a signal: kill -CONT ${vm.pid} lets it go on$`),
    )
  }
  process.kill(vm.pid, 'SIGCONT')
  await worksAgain(vm)
})

test('a guest that lets go of the port of its agent is told, and works once it is back', async ({
  dut,
}) => {
  const vm = await dut.start({ memory: '256M' })
  const waiting = [vm.exec('sleep 1000', { timeout: '10m' }), vm.session()].map(ending)
  const driver = '/sys/bus/virtio/drivers/virtio_console'
  const port = `$(basename $(dirname $(grep -lx vitest-dut.agent /sys/class/virtio-ports/*/name)))`
  const { output } = await vm.cmd(`basename $(realpath /sys/class/virtio-ports/${port}/device)`)
  expect(output).toMatch(/^virtio\d+\n$/)
  // The console goes with it, for both are of one device.
  vm.console.write(`echo ${output.trim()} >${driver}/unbind\n`)
  const [first] = await Promise.all(waiting)
  expect(first?.error?.message).toMatch(/the agent in the guest has ended, or lost its port/)
  const { error, ms } = await ending(vm.exec('true'))
  expect(error?.message).toMatch(/the agent in the guest has ended/)
  expect(ms).toBeLessThan(1000)
  await vm.reset()
  await worksAgain(vm)
})
