import { GuestError } from '../../errors.ts'
import { exec } from '../../guest-protocol/exec.ts'
import { stopSignal } from '../../scope.ts'
import { type Duration, parseDuration } from '../../units.ts'
import { waitFor } from '../../wait.ts'
import { callGuestAgent } from '../guest-agent/call.ts'
import type { Machine } from '../instance/running-guest.ts'
import type { VmParts } from './internals.ts'

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
  // The end may come before an answer.
  if (machine.agent.absent === undefined) exec(machine, 'poweroff').catch(() => {})
  else if (machine.guestAgent) void tellGuestAgent(machine)
  else pressButton(machine)
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

/** Without our agent in it, a guest is told as by its button. */
function pressButton({ qmp }: Machine): void {
  qmp.execute('system_powerdown').catch(() => {})
}

/** How long a QEMU guest agent may take until it is known to be there. */
const GUEST_AGENT_MS = 5000

/** By its QEMU guest agent, which no setting of the guest's can have ignored; else by its button. */
async function tellGuestAgent(machine: Machine): Promise<void> {
  const options = { timeoutMs: GUEST_AGENT_MS, signal: machine.life.ended }
  const args = { mode: 'powerdown' }
  await callGuestAgent(machine, 'guest-shutdown', args, options).catch(() => pressButton(machine))
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
