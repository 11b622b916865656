import { exec } from '../console/exec.ts'
import { GuestError } from '../errors.ts'
import { stopSignal } from '../scope.ts'
import { type Duration, parseDuration } from '../units.ts'
import { waitFor } from '../wait.ts'
import type { Machine } from './machine.ts'
import type { VmParts } from './parts.ts'

/**
 * Asks the guest to power itself off, and waits until it has.
 *
 * @throws GuestError when it has not in time
 */
export async function powerOff(
  machine: Machine,
  timeout: Duration,
  signal?: AbortSignal,
): Promise<void> {
  const timeoutMs = parseDuration(timeout, 'timeout')
  machine.stopping = true
  // Without an agent it is told as by its button. The end of either may come before its answer.
  if (machine.agent.absent !== undefined) machine.qmp.execute('system_powerdown').catch(() => {})
  else exec(machine, 'poweroff').catch(() => {})
  await waitFor(machine.qemu.exited, {
    ...{ timeoutMs, signal: stopSignal(signal) },
    onTimeout: (elapsedMs) =>
      new GuestError('the guest did not power itself off', {
        ...machine.where,
        elapsedMs,
        tail: machine.kernelLog.tail(),
        hint: 'vm.stop() ends it whatever the guest does',
      }),
  })
}

/** How long QEMU gets to end by itself before it is killed. */
const QUIT_PATIENCE_MS = 2000

/** Ends QEMU, by force where it does not end by itself, and removes and releases all that was its. */
export async function end({ home, dir, machine, lease, plugs }: VmParts): Promise<void> {
  const { qemu, qmp } = machine
  machine.stopping = true
  qmp.execute('quit').catch(() => {}) // also to a QEMU whose guest has panicked
  await waitFor(qemu.exited, { timeoutMs: QUIT_PATIENCE_MS }).catch(() => qemu.kill())
  await qemu.exited
  await home.host.remove(dir)
  await Promise.all([lease.release(), plugs.release()])
}
