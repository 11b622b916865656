import { AbortController } from '../../abort.ts'
import { GuestError } from '../../errors.ts'
import { stopSignal } from '../../scope.ts'
import { type Duration, parseDuration } from '../../units.ts'
import { waitFor } from '../../wait.ts'
import { enterShell, startAgent } from '../boot/login.ts'
import { loginOf } from '../spec/spec.ts'
import type { VmParts } from './internals.ts'

/** What a guest that hangs is given before it is reset all the same. */
const LAST_ANSWER_MS = 1000
const RESET_PATIENCE_MS = 10_000

/**
 * Resets the machine as its button would, and waits until the guest that boots anew answers.
 *
 * @throws GuestError when it does not in time, with its kernel's last lines
 */
export async function resetVm(
  parts: VmParts,
  { timeout, signal }: { timeout: Duration; signal: AbortSignal },
): Promise<void> {
  const { machine } = parts
  const { qmp, qemu, agent, console } = machine
  const load = async () => {
    await agent.hold({ timeoutMs: LAST_ANSWER_MS }).catch(() => {}) // all that was sent is read
    console.hold()
    await qmp.execute('stop')
    await machine.endAll(RESET)
    await qemu.unread()
    // By -no-reboot any reset is QEMU's end, also one that the BIOS does by itself as it begins anew
    // (SeaBIOS, handle_post: what it changed of its own code in memory is still there).
    await qmp.execute('set-action', { reboot: 'reset' })
    const done = qmp.once('RESET', { timeoutMs: RESET_PATIENCE_MS })
    await Promise.all([done, qmp.execute('system_reset')])
    agent.release()
    console.release()
    await qmp.execute('cont')
  }
  try {
    await beginAnew(parts, { timeout, signal, load, what: RESET })
  } finally {
    await qmp.execute('set-action', { reboot: 'shutdown' }).catch(() => {}) // QEMU may be gone
  }
}

const RESET = 'the VM was reset meanwhile'

interface BeginOptions {
  timeout: Duration
  signal: AbortSignal
  load: () => Promise<void>
  /** Why what is under way ends. */
  what: string
}

/**
 * Ends all that is under way in a guest, has `load` begin it anew, and waits until it answers.
 *
 * @throws GuestError when it does not in time, with its kernel's last lines
 */
export async function beginAnew(
  { machine, shell, spec }: VmParts,
  { timeout, signal, load, what }: BeginOptions,
): Promise<void> {
  const own = spec.guest !== 'default'
  const login = loginOf(spec)
  const over = new AbortController()
  const { agent, where, life } = machine
  const patience = {
    timeoutMs: parseDuration(timeout, 'timeout'),
    signal: stopSignal(life.signal, signal),
    onTimeout: (elapsedMs: number) =>
      new GuestError('the guest did not come up again', {
        ...{ ...where, elapsedMs, tail: machine.tail() },
        hint: 'a slow host needs a longer timeout; else look at the kernel lines above',
      }),
  }
  patience.signal?.throwIfAborted()
  const reason = new GuestError(what, where)
  let loading: Promise<void> = Promise.resolve()
  const track = async () => {
    loading = load()
    await loading
    if (own) await enterShell(machine, { login, signal: over.signal, onStage: () => {} })
  }
  const begin = async () => {
    if (machine.noShell) return track()
    await shell.back(undefined, { reason, load: track })
    if (own) await startAgent(machine, shell, over.signal)
    else await agent.hello()
  }
  try {
    await waitFor(begin(), patience)
  } finally {
    over.abort()
    await loading.catch(() => {}) // else a QEMU could start after the VM was ended
  }
}
