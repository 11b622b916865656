import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { Lifeline } from '../../../src/lifeline.ts'
import { KernelLog } from '../../../src/vm/instance/kernel-log.ts'
import { PanicWatch } from '../../../src/vm/instance/panic-watch.ts'
import { turn } from '../../../src/wait.ts'

const LINE = '[    1.000000] Kernel panic - not syncing: Fatal exception\n'

/** A guest whose kernel has printed such a line, and whose QEMU has told of a reset. */
async function reset() {
  const serial = new PassThrough()
  const kernelLog = new KernelLog(serial, { stage: () => {}, panic: () => {} })
  const life = new Lifeline()
  const where = { vm: 'vm0', dut: 'dut0' }
  const machine = { kernelLog, life, where }
  const panics = new PanicWatch(machine as unknown as ConstructorParameters<typeof PanicWatch>[0])
  serial.write(LINE)
  await turn()
  return { serial, kernelLog, life, decided: panics.shutDown('guest-reset') }
}

test('a guest that leaves in order is not dead of a panic, though QEMU is heard first', async () => {
  const { serial, kernelLog, life, decided } = await reset()
  await turn()
  serial.write('[    2.000000] reboot: Restarting system\n')
  serial.destroy()
  await decided
  await kernelLog.ended
  for (let turns = 0; turns < 10; turns++) await turn()
  expect(life.ended.aborted).toBe(false)
})

test('a guest that resets itself behind its panic is dead of it', async () => {
  const { serial, life, decided } = await reset()
  serial.write('[    1.100000] Call Trace:\n')
  serial.destroy()
  await decided
  expect(life.ended.reason.message).toContain('kernel panic: Fatal exception')
})
