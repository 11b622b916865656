import { AbortController, anySignal } from '../../abort.ts'
import { GuestError, UsageError } from '../../errors.ts'
import { GuestAgentSilence } from '../../qemu/guest-agent-error.ts'
import { GUEST_AGENT_ID } from '../../qemu/guest-args.ts'
import { stopSignal } from '../../scope.ts'
import { performance } from '../../time.ts'
import { type Duration, parseDuration } from '../../units.ts'
import { waitFor } from '../../wait.ts'
import type { Machine } from '../instance/running-guest.ts'
import { callGuestAgent } from './call.ts'

export interface GuestAgentShutdownOptions {
  /** `'powerdown'` where none is given. */
  mode?: 'powerdown' | 'reboot' | 'halt'
  /** Milliseconds or a string with a unit; `'30s'` where none is given. */
  timeout?: Duration
  signal?: AbortSignal
}

const MODES = ['powerdown', 'reboot', 'halt']

/** See `GuestAgent.shutdown`. */
export async function shutDownByAgent(
  machine: Machine,
  { mode = 'powerdown', timeout = '30s', signal: given }: GuestAgentShutdownOptions,
  stop: () => Promise<void>,
): Promise<void> {
  if (!MODES.includes(mode)) {
    throw new UsageError(`shutdown: mode: ${JSON.stringify(mode)} is unknown`, {
      hint: `'powerdown', 'reboot' or 'halt'`,
    })
  }
  const timeoutMs = parseDuration(timeout, 'timeout')
  const { qemu, qmp, life } = machine
  const over = new AbortController()
  const signal = anySignal(over.signal, given)
  const ended =
    mode === 'halt'
      ? qmp.once('VSERPORT_CHANGE', { ...isClosed, timeoutMs, signal: over.signal })
      : qemu.exited
  ended.catch(() => {}) // whoever gives up does not wait for it
  const before = machine.stopping
  if (mode !== 'halt') machine.stopping = true
  try {
    const told = tell(machine, mode, { timeoutMs, signal })
    await waitFor(Promise.race([ended, told]), {
      signal: stopSignal(given, mode === 'halt' ? life.ended : undefined),
    })
  } catch (error) {
    machine.stopping = before
    throw error
  } finally {
    over.abort()
  }
  if (mode !== 'halt') await stop()
}

/**
 * Tells it, and does not resolve: guest-shutdown returns only where it fails.
 *
 * @throws GuestAgentError, or GuestError where no agent is there, or the guest runs on
 */
async function tell(
  machine: Machine,
  mode: string,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal },
): Promise<never> {
  const { where, kernelLog, life } = machine
  const startedAt = performance.now()
  const runsOn = () =>
    new GuestError(`the guest agent was told "${mode}", and the guest runs on`, {
      ...{ ...where, elapsedMs: performance.now() - startedAt, tail: kernelLog.tail() },
      hint: 'vm.stop() ends it whatever the guest does',
    })
  try {
    await callGuestAgent(machine, 'guest-shutdown', { mode }, { timeoutMs, signal })
  } catch (error) {
    const { cause } = error as GuestError
    if (cause instanceof GuestAgentSilence && cause.silence === 'no answer') throw runsOn()
    if (!life.ended.aborted) throw error
  }
  const left = Math.max(1, timeoutMs - (performance.now() - startedAt))
  return waitFor(new Promise(() => {}), { timeoutMs: left, signal, onTimeout: runsOn })
}

const isClosed = {
  where: ({ data }: { data: { id: string; open: boolean } }) =>
    data.id === GUEST_AGENT_ID && !data.open,
}
