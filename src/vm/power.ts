import { exec } from '../console/exec.ts'
import { GuestError } from '../errors.ts'
import { type Duration, parseDuration } from '../units.ts'
import { waitFor } from '../wait.ts'
import type { Machine } from './launch.ts'

/**
 * Asks the guest to power itself off, and waits until it has.
 *
 * @throws GuestError when it has not in time
 */
export async function powerOff(machine: Machine, timeout: Duration): Promise<void> {
  machine.stopping = true
  await exec(machine, 'poweroff').catch(() => {}) // its own end may come before its answer
  await waitFor(machine.qemu.exited, {
    timeoutMs: parseDuration(timeout, 'timeout'),
    onTimeout: (elapsedMs) =>
      new GuestError('the guest did not power itself off', {
        ...machine.where,
        elapsedMs,
        tail: machine.kernelLog.tail(),
        hint: 'vm.stop() ends it whatever the guest does',
      }),
  })
}
