import { dutTest, expect, type Vm } from 'vitest-dut'
import { debianDisk, ROOT } from '../support/disk.ts'

/* Lines that read like a kernel's panic, which any program can print; and panics. */

const test = dutTest({ vms: 0, bootTimeout: '5m' })
const PATIENCE = { timeout: 900_000 }
const LINE = 'Kernel panic - not syncing: Fatal exception'
/** An old log, as a program shows it. */
const LOG = `for i in 1 2 3 4 5; do echo "[   1$i.345678] ${LINE}"; echo "[   1$i.345679] Call Trace:"; done`
const CRASH = 'echo c >/proc/sysrq-trigger'

/** The lines of {@link LINE} that the kernel log has got. */
const lines = (vm: Vm) => vm.kernelLog.split(LINE).length - 1

const death = (vm: Vm) =>
  new Promise<Error>((resolve) => {
    vm.gone.addEventListener('abort', () => resolve(vm.gone.reason as Error))
  })

test('a line in /dev/kmsg, on the console or on the serial line kills no VM', async ({ dut }) => {
  const vm = await dut.start({ memory: '256M' })
  for (const [way, count] of [
    [`echo 'ramoops: ${LINE}' >/dev/kmsg`, 1],
    [`{ ${LOG}; } >/dev/ttyS0`, 5],
    [`for i in $(seq 20); do echo '${LINE}' >/dev/kmsg; done`, 20],
    ['dmesg >/dev/ttyS0', 21],
  ] as const) {
    const before = lines(vm)
    await vm.exec(way, { check: true })
    await expect.poll(() => lines(vm)).toBe(before + count)
    expect((await vm.exec('echo alive', { timeout: '30s' })).stdout).toBe('alive\n')
  }
  const { output } = await vm.cmd(`${LOG}; echo after`)
  expect(output).toMatch(/after\n$/)
  expect((await vm.cmd('echo typed')).output).toBe('typed\n')
  expect(vm.state).toBe('running')
  // The guest is left in order right behind such a line.
  const dead = death(vm)
  vm.exec(`echo '${LINE}' >/dev/kmsg; reboot`).catch(() => {})
  expect((await dead).message).toMatch(/the guest reset itself/)
})

test('a program that keeps the CPU busy in the kernel does not turn a line into a panic', async ({
  dut,
}) => {
  const vm = await dut.start({ memory: '256M' })
  await vm.exec('dd if=/dev/zero of=/dev/null bs=64M & echo $! >/run/busy', { check: true })
  await vm.exec(`echo '${LINE}' >/dev/kmsg`, { check: true })
  await expect.poll(() => lines(vm)).toBe(1)
  // A CPU in a panic's loop is given up after one second of its time.
  await vm.exec('sleep 4; kill $(cat /run/busy)', { check: true, timeout: '60s' })
  expect(vm.state).toBe('running')
})

test.for([
  ['where the kernel tells QEMU of it', 'true'],
  ['where it tells nobody', 'rmmod pvpanic_mmio'],
] as const)(
  'a panic is told where the kernel does not restart: %s',
  async ([, before], { dut }) => {
    const vm = await dut.start({ memory: '256M', cpus: 2 })
    await vm.exec(`sysctl -w kernel.panic=0; ${before}; echo 'x: ${LINE}' >/dev/kmsg`, {
      check: true,
    })
    await expect.poll(() => lines(vm)).toBe(1)
    const waiting = vm.cmd('sleep 1000', '', '10m')
    vm.exec(CRASH).catch(() => {})
    await expect(waiting).rejects.toThrow(/dut0\/vm0: kernel panic: sysrq triggered crash/)
    expect(vm.state).toBe('stopped')
  },
)

test('guests of your own: lines kill none, a panic is told', PATIENCE, async ({ dut }) => {
  const { disk } = await debianDisk()
  const own = await dut.start({ guest: { disk }, login: ROOT, memory: '256M' })
  expect((await own.cmd(`${LOG}; echo after`)).output).toMatch(/after\n$/)
  await own.cmd(`dmesg -n 8; echo '${LINE}' >/dev/kmsg; dmesg -n 1`)
  expect((await own.exec('echo alive')).stdout).toBe('alive\n')
  expect((await own.cmd('echo typed')).output).toBe('typed\n')
  expect((await own.exec('cat /proc/sys/kernel/panic')).stdout).toBe('0\n')
  await expect(own.cmd(CRASH, 'never', '10m')).rejects.toThrow(
    /kernel panic: sysrq triggered crash/,
  )
})

test('a guest of your own without an agent: a panic is told', PATIENCE, async ({ dut }) => {
  const { kernel, initrd } = await debianDisk()
  // Nobody logs in, so nobody can be asked; it panics for it finds no init.
  const append = 'console=ttyS0 rdinit=/none root=/dev/none mitigations=off'
  const vm = await dut.start({ guest: { kernel, initrd, append }, memory: '256M' })
  await expect(vm.console.expect('never printed', '5m')).rejects.toThrow(/kernel panic: /)
})
