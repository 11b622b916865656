import { asError } from '../../errors.ts'
import { type Duration, parseDuration } from '../../units.ts'
import { waitFor } from '../../wait.ts'
import { attachTaps, settle } from '../instance/post-launch.ts'
import { allRead, startEngine } from '../instance/qemu-instance.ts'
import type { VmParts } from './internals.ts'
import { powerOff } from './power.ts'
import { beginAnew } from './reset.ts'

export interface RestartOptions {
  /** How long the guest may take to power itself off; `'30s'` where none is given. */
  timeout?: Duration
  /** How long the new one may take until its shell answers; `'120s'` where none is given. */
  bootTimeout?: Duration
}

/** How long QEMU may take to be gone whose guest is. */
const CLOSED_PATIENCE_MS = 10_000
const RESTARTED = 'the VM was restarted meanwhile'

/**
 * Has the guest power itself off, and starts a new QEMU with what the VM has now, in which it boots.
 *
 * @throws GuestError when the guest does not power itself off, and runs on; or does not come up again
 * @throws InfrastructureError when QEMU refuses; the VM is gone then
 */
export async function restartVm(
  parts: VmParts,
  options: RestartOptions,
  signal: AbortSignal,
): Promise<void> {
  const { timeout = '30s', bootTimeout = '120s' } = options
  const { site, spec, machine, lease, accel, boot, plugs, snapshots } = parts
  parseDuration(bootTimeout, 'bootTimeout')
  machine.leave()
  try {
    await powerOff(machine, timeout, signal)
  } catch (error) {
    machine.stay()
    throw error
  }
  const load = async () => {
    const { devices } = machine
    const patience = { timeoutMs: CLOSED_PATIENCE_MS }
    await waitFor(allRead(machine.engine), patience)
    await machine.endAll(RESTARTED)
    try {
      const { dir } = machine.engine
      const engine = await startEngine(site, spec, { dir, lease, accel, boot, devices })
      machine.moveTo(engine)
      await settle(site.home.host, engine, lease)
      await plugs.settle(engine.qemu.pid)
      await attachTaps(site.home.host, devices)
      await snapshots.moved()
    } catch (error) {
      machine.life.end(asError(error))
      throw error
    }
  }
  await beginAnew(parts, { timeout: bootTimeout, signal, load, what: RESTARTED })
}
