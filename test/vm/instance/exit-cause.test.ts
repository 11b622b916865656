import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { DutError, InfrastructureError, VmDiedError } from '../../../src/errors.ts'
import { localHost } from '../../../src/host/local.ts'
import { Lifeline } from '../../../src/lifeline.ts'
import { startQemu } from '../../../src/qemu/process.ts'
import { awaitDeath, panicError } from '../../../src/vm/instance/exit-cause.ts'
import { KernelLog } from '../../../src/vm/instance/kernel-log.ts'
import { poll, waitFor } from '../../../src/wait.ts'

const where = { vm: 'vm0', dut: 'dut0' }
const host = localHost()

interface Death {
  /** What runs in QEMU's place. */
  script: string
  shutdownReason?: string
  stopping?: boolean
  /** What the kernel said last; no kernel log where left out. */
  kernel?: string
  /** Why a signal ended it. */
  why?: string
}

/** The cause that the lifeline ends with. */
async function causeOf({ script, shutdownReason, stopping = false, kernel, why }: Death) {
  const dir = await mkdtemp(join(tmpdir(), 'death-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  let kernelLog: KernelLog | undefined
  if (kernel !== undefined) {
    const { connection } = await host.listen(join(dir, 'klog'))
    const writer = connect(join(dir, 'klog'))
    kernelLog = new KernelLog(await connection, { stage: () => {}, panic: () => {} })
    writer.end(kernel)
  }
  const qemu = startQemu(host, ['sh', '-c', script], { dir, lockFile: dir })
  qemu.terminal.onData(() => {})
  const life = new Lifeline()
  await waitFor(
    awaitDeath({
      ...{ qemu, life, where },
      kernelLog: () => kernelLog,
      shutdownReason: () => shutdownReason,
      stopping: () => stopping,
      ...(why !== undefined && { explain: async () => why }),
    }),
    { timeoutMs: 10_000 },
  )
  const cause = life.ended.reason
  expect(cause).toBeInstanceOf(DutError)
  expect(cause).toMatchObject(where)
  return cause as DutError
}

const PANIC = '[1] Kernel panic - not syncing: x\n'
const REFUSES = `echo 'qemu-system-x86_64: warning: x' >&2; echo 'qemu-system-x86_64: no such device' >&2; exit 1`

describe('a VM is gone because', () => {
  test.each<[string, Death, typeof VmDiedError | typeof InfrastructureError, RegExp]>([
    [
      'QEMU refused, in its own words',
      { script: REFUSES },
      InfrastructureError,
      /^dut0\/vm0: QEMU ended: no such device\n.*\n {2}\| warning: x\n {2}\| no such device$/,
    ],
    [
      'QEMU was killed, and the kernel had said',
      { script: 'kill -KILL $$', kernel: '[1] all is well\n' },
      VmDiedError,
      /^dut0\/vm0: QEMU was killed by SIGKILL, \d.* after its start\n.*\n {2}\| \[1\] all is well$/,
    ],
    [
      'QEMU was killed, although it had warned',
      { script: 'echo "qemu-system-x86_64: warning: y" >&2; kill -SEGV $$' },
      VmDiedError,
      /QEMU was killed by SIGSEGV[\s\S]*\| warning: y/,
    ],
    ['QEMU ended without a word', { script: 'exit 7' }, VmDiedError, /QEMU exited with status 7/],
    [
      'the guest powered itself off',
      { script: 'exit 0', shutdownReason: 'guest-shutdown', kernel: 'reboot: Power down\n' },
      VmDiedError,
      /the guest powered itself off, .* after its start\n[\s\S]*\| reboot: Power down/,
    ],
    [
      'the guest reset itself',
      { script: 'exit 0', shutdownReason: 'guest-reset' },
      VmDiedError,
      /the guest reset itself/,
    ],
    [
      'the guest panicked',
      { script: 'exit 0', shutdownReason: 'guest-panic', kernel: 'Kernel panic - x\n' },
      VmDiedError,
      /\| Kernel panic - x/,
    ],
    [
      'the guest reset itself after a panic',
      { script: 'exit 0', shutdownReason: 'guest-reset', kernel: PANIC },
      VmDiedError,
      /^dut0\/vm0: kernel panic: x\n/,
    ],
    [
      'the guest was restarted in order after a line like that',
      {
        ...{ script: 'exit 0', shutdownReason: 'guest-reset' },
        kernel: `${PANIC}[2] reboot: Restarting system\n`,
      },
      VmDiedError,
      /^dut0\/vm0: the guest reset itself/,
    ],
    [
      'the guest was powered off after a line like that',
      { script: 'exit 0', shutdownReason: 'guest-shutdown', kernel: PANIC },
      VmDiedError,
      /^dut0\/vm0: the guest powered itself off/,
    ],
    [
      'QEMU was killed after a line like that, and it is known why',
      { script: 'kill -KILL $$', kernel: PANIC, why: 'for want of memory' },
      VmDiedError,
      /^dut0\/vm0: QEMU was killed by SIGKILL[\s\S]*\n→ for want of memory$/,
    ],
    [
      'it was asked to go, whatever else it said',
      { script: REFUSES, shutdownReason: 'guest-shutdown', stopping: true },
      VmDiedError,
      /^dut0\/vm0: the VM was stopped, .* after its start\n/,
    ],
  ])('%s', async (_, death, Family, message) => {
    const cause = await causeOf(death)
    expect(cause).toBeInstanceOf(Family)
    expect(cause.message).toMatch(message)
  })
})

test('a kernel log that stays open does not keep the news of a death for long', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'death-'))
  const { connection } = await host.listen(join(dir, 'klog'))
  const writer = connect(join(dir, 'klog'))
  const kernelLog = new KernelLog(await connection, { stage: () => {}, panic: () => {} })
  onTestFinished(async () => {
    writer.destroy()
    await rm(dir, { recursive: true })
  })
  writer.write('[1] still open\n')
  await poll(() => kernelLog.text || undefined, { timeoutMs: 5000 })
  const qemu = startQemu(host, ['sh', '-c', 'kill -KILL $$'], { dir, lockFile: dir })
  qemu.terminal.onData(() => {})
  const life = new Lifeline()
  void awaitDeath({
    ...{ qemu, life, where },
    kernelLog: () => kernelLog,
    shutdownReason: () => undefined,
    stopping: () => false,
  })
  await expect(
    waitFor(new Promise(() => {}), { signal: life.signal, timeoutMs: 5000 }),
  ).rejects.toThrow(/SIGKILL[\s\S]*\| \[1\] still open/)
})

test('a panic is told without the kernel’s time stamp, with its last lines', async () => {
  const log = { sincePanic: () => '[1] a\n[2] b' } as KernelLog
  const error = panicError('[    2.1] Kernel panic - not syncing: x', log, where)
  expect(error).toBeInstanceOf(VmDiedError)
  expect(error.message).toMatch(/^dut0\/vm0: kernel panic: x\n/)
  expect(error.message).toMatch(/\| \[1\] a\n {2}\| \[2\] b$/)
})
