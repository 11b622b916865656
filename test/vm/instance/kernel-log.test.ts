import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../../src/host/local.ts'
import { KernelLog } from '../../../src/vm/instance/kernel-log.ts'
import { poll, waitFor } from '../../../src/wait.ts'

/** A kernel log, and the end of its socket at which QEMU writes. */
async function openLog() {
  const dir = await mkdtemp(join(tmpdir(), 'klog-'))
  const { connection } = await localHost().listen(join(dir, 's'))
  const qemu = connect(join(dir, 's'))
  const stages: string[] = []
  const panics: string[] = []
  const log = new KernelLog(await connection, {
    stage: (stage) => stages.push(stage),
    panic: (line) => panics.push(line),
  })
  onTestFinished(async () => {
    qemu.destroy()
    await rm(dir, { recursive: true })
  })
  const end = async () => {
    qemu.end()
    await waitFor(log.ended, { timeoutMs: 5000 })
  }
  return { log, qemu, stages, panics, end }
}

const BOOT = [
  '[    0.000000] Linux version 6.1\r\n',
  '[    0.5] vitest-dut: modules\r\n',
  '[    0.7] žluť vitest-dut: root\r\n',
  '[    0.9] vitest-dut: failed: no root filesystem\r\n',
].join('')

describe('the kernel’s messages', () => {
  test('are remembered, and tell the stages of a boot in order', async () => {
    const { log, qemu, stages, panics, end } = await openLog()
    qemu.write(BOOT)
    await end()
    expect(log.text).toBe(BOOT.replaceAll('\r', ''))
    expect(log.tail(1)).toBe('[    0.9] vitest-dut: failed: no root filesystem')
    expect(stages).toEqual(['modules', 'root', 'failed: no root filesystem'])
    expect(panics).toEqual([])
  })

  test('tell a stage once its line is whole, wherever reads cut it', async () => {
    const line = Buffer.from('[1] é vitest-dut: modules\n')
    for (const at of [1, 4, 5, 9, 20, line.length - 1]) {
      const { log, qemu, stages } = await openLog()
      qemu.write(line.subarray(0, at))
      await poll(() => log.text.length > 0 || at === 5 || undefined, { timeoutMs: 5000 })
      expect(stages).toEqual([])
      qemu.write(line.subarray(at))
      await poll(() => stages[0], { timeoutMs: 5000 })
      expect(stages).toEqual(['modules'])
      expect(log.text).toBe(line.toString())
    }
  })

  test('tell a stage whose line began in the read before', async () => {
    const { log, qemu, stages } = await openLog()
    qemu.write('[1] a\n[2] vitest-dut: mod')
    await poll(() => log.text.endsWith('mod') || undefined, { timeoutMs: 5000 })
    qemu.write('ules\n')
    await poll(() => stages[0], { timeoutMs: 5000 })
    expect(stages).toEqual(['modules'])
  })

  test('are remembered up to a limit', async () => {
    const { log, qemu, end } = await openLog()
    for (let i = 0; i < 30; i++) qemu.write(`${String(i).padStart(99_999, '.')}\n`)
    await end()
    expect(log.text.length).toBe(1 << 20)
    expect(log.text.endsWith('29\n')).toBe(true)
  })
})

describe('a kernel panic', () => {
  const PANIC = '[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs'

  test('is told with its line, once', async () => {
    const { qemu, panics, end } = await openLog()
    qemu.write(`${BOOT}${PANIC}\r\n[    2.2] CPU: 0 PID: 1\r\n`)
    qemu.write(`${PANIC}\r\n`)
    await end()
    expect(panics).toEqual([PANIC])
  })

  test('is told although its line came in two reads', async () => {
    const { log, qemu, panics } = await openLog()
    qemu.write(PANIC.slice(0, 30))
    await poll(() => (log.text.length === 30 ? true : undefined), { timeoutMs: 5000 })
    expect(panics).toEqual([])
    qemu.write(`${PANIC.slice(30)}\n`)
    await poll(() => panics[0], { timeoutMs: 5000 })
    expect(panics).toEqual([PANIC])
  })
})

describe('a line that reads like a panic', () => {
  const LINE = 'ramoops: Kernel panic - not syncing: x'
  const soon = { timeoutMs: 5000 }

  test('is told once more where the first one was none', async () => {
    const { log, qemu, panics } = await openLog()
    qemu.write(`${LINE} 1\n${LINE} 2\n`)
    await poll(() => panics[0], soon)
    expect(log.panic).toBe(`${LINE} 2`)
    expect(log.panics).toBe(2)
    log.clearPanic()
    expect(log.panic).toBeUndefined()
    qemu.write(`${LINE} 3\n`)
    await poll(() => panics[1], soon)
    expect(panics).toEqual([`${LINE} 2`, `${LINE} 3`])
  })

  test('is not the last line of a panic’s report', async () => {
    const { log, qemu, panics } = await openLog()
    qemu.write(`[1] ${LINE} 1\n[2] CPU: 0\n[3] ---[ end Kernel panic - not syncing: x ]---\n`)
    await poll(() => (log.text.endsWith('---\n') ? true : undefined), soon)
    expect(panics).toEqual([`[1] ${LINE} 1`])
    expect(log.panic).toBe(`[1] ${LINE} 1`)
    expect(log.sincePanic()).toMatch(/^\[1\].*\n\[2\] CPU: 0\n\[3\]/)
  })

  test.each([
    ['[9] reboot: Restarting system', true, false],
    ['[9] reboot: Power down', true, false],
    ['[0] Linux version 6.1', false, true],
    ['[9] Rebooting in 5 seconds..', false, false],
  ])('and what comes behind it: %s', async (next, inOrder, booted) => {
    const { log, qemu } = await openLog()
    qemu.write(`[0] Linux version 6.0\n[1] reboot: Restarting system\n${LINE}\n${next}\n`)
    await poll(() => (log.text.endsWith(`${next}\n`) ? true : undefined), soon)
    expect(log.endedInOrder).toBe(inOrder)
    expect(log.hasBootedSince).toBe(booted)
  })
})

test('a connection that breaks is an end, not an uncaught error', async () => {
  const { log, qemu } = await openLog()
  qemu.destroy()
  await waitFor(log.ended, { timeoutMs: 5000 })
  expect(log.tail()).toBe('')
})
