import { PassThrough } from 'node:stream'
import { describe, expect, test, vi } from 'vitest'
import { Lifeline } from '../../../src/lifeline.ts'
import { KernelLog } from '../../../src/vm/instance/kernel-log.ts'
import { PanicWatch } from '../../../src/vm/instance/panic-watch.ts'
import { turn } from '../../../src/wait.ts'
import { stopTime } from '../../support/stop-time.ts'

const LINE = '[    1.000000] Kernel panic - not syncing: Fatal exception\n'

/** A guest that says what the test writes to its serial line. */
function watched() {
  const serial = new PassThrough()
  const kernelLog = new KernelLog(serial, { stage: () => {}, panic: () => {} })
  const life = new Lifeline()
  const where = { vm: 'vm0', dut: 'dut0' }
  const machine = { kernelLog, life, where }
  const panics = new PanicWatch(machine as unknown as ConstructorParameters<typeof PanicWatch>[0])
  return { serial, kernelLog, life, panics }
}

/** Lets pass what is done at once. */
async function settled(): Promise<void> {
  for (let turns = 0; turns < 20; turns++) await turn()
}

describe('a guest of which QEMU tells that it has reset itself, behind such a line', () => {
  test('is not dead of a panic where it leaves in order, though QEMU is heard first', async () => {
    const { serial, life, panics } = watched()
    serial.write(LINE)
    await settled()
    const decided = panics.shutDown('guest-reset')
    await settled()
    serial.write('[    2.000000] reboot: Restarting system\n')
    serial.destroy()
    await decided
    await settled()
    expect(life.ended.aborted).toBe(false)
  })

  test('is dead of it else', async () => {
    const { serial, life, panics } = watched()
    serial.write(LINE)
    await settled()
    const decided = panics.shutDown('guest-reset')
    serial.write('[    1.100000] Call Trace:\n')
    serial.destroy()
    await decided
    expect(life.ended.reason.message).toContain('kernel panic: Fatal exception')
  })
})

describe('a panic of which QEMU tells before its line has come', () => {
  test('is told with the line, though a busy machine takes a second over it', async () => {
    stopTime()
    const { serial, life, panics } = watched()
    const decided = panics.confirm()
    await settled()
    vi.advanceTimersByTime(1000)
    await settled()
    serial.write(LINE)
    await settled()
    serial.destroy()
    await settled()
    vi.advanceTimersByTime(2000)
    await decided
    expect(life.ended.reason.message).toContain('kernel panic: Fatal exception')
  })

  test('is told without one as soon as nothing more can come', async () => {
    const { serial, life, panics } = watched()
    const decided = panics.confirm()
    serial.destroy()
    await decided
    expect(life.ended.reason.message).toContain('the guest has panicked')
  })
})
