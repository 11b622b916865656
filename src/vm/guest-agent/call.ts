import { GuestError } from '../../errors.ts'
import { GuestAgentSilence } from '../../qemu/guest-agent-error.ts'
import { GUEST_AGENT_ID } from '../../qemu/guest-args.ts'
import { stopSignal } from '../../scope.ts'
import type { Machine } from '../instance/running-guest.ts'

export interface CallOptions {
  timeoutMs: number
  signal?: AbortSignal
}

/**
 * What the QEMU guest agent of a guest returns for a command.
 *
 * @throws GuestAgentError with the agent's own words; GuestError when it does not answer in time
 */
export async function callGuestAgent(
  machine: Machine,
  command: string,
  args: object | undefined,
  { timeoutMs, signal }: CallOptions,
): Promise<unknown> {
  const { guestAgent, life, where } = machine
  if (guestAgent === undefined) throw new Error(`${where.vm} has no port of the guest agent`)
  const stop = stopSignal(life.signal, signal)
  stop?.throwIfAborted()
  try {
    return await guestAgent.call(command, args, { timeoutMs, signal: stop })
  } catch (error) {
    if (!(error instanceof GuestAgentSilence)) throw error
    const { silence, elapsedMs } = error
    const details = { ...where, command, elapsedMs, cause: error }
    if (silence === 'not there') {
      const hint = await whyNobody(machine).catch(() => undefined) // QEMU may be gone
      throw new GuestError(`no guest agent answers, so ${command} was not sent`, {
        ...details,
        ...(hint && { hint }),
      })
    }
    if (silence === 'no answer') {
      throw new GuestError(`the guest agent did not answer ${command}`, {
        ...details,
        hint: 'it may still do it; give it a longer timeout',
      })
    }
    throw new GuestError(`${command} was not sent, for the guest agent does one call at a time`, {
      ...details,
      hint: 'the calls before it took all of its time; give it a longer timeout',
    })
  }
}

/** What to do about an agent that does not answer. */
async function whyNobody({ qmp }: Machine): Promise<string> {
  const { running } = await qmp.execute('query-status')
  if (!running) return 'the VM is paused: vm.resume()'
  const chardevs = await qmp.execute('query-chardev')
  const port = chardevs.find(({ label }) => label === GUEST_AGENT_ID)
  return port?.['frontend-open']
    ? 'in the guest, something has its port open: systemctl status qemu-guest-agent'
    : 'in the guest, nothing has its port open: is qemu-guest-agent installed there, and started? systemctl status qemu-guest-agent'
}
