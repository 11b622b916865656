import { Shell } from '../console/shell.ts'
import { asError, DutError, GuestError } from '../errors.ts'
import { attachTap, ensureBridge } from '../lease/bridge.ts'
import type { GrantedLease } from '../lease/grant.ts'
import { bindVfio } from '../lease/pci.ts'
import { stopSignal } from '../scope.ts'
import { waitFor } from '../wait.ts'
import type { VmSite } from './home.ts'
import { launch, type Machine } from './launch.ts'
import { pinVcpus } from './pin.ts'
import { forwardsOf, tapsOf } from './place.ts'
import type { ResolvedSpec } from './spec.ts'
import { Vm } from './vm.ts'

export interface StartOptions {
  /** The VM's number on its DUT, which its Ethernet addresses are made from. */
  index: number
  /** What it was promised of the host; from here on it is the VM's, or released where it does not start. */
  lease: GrantedLease
  /** From QEMU's start to the first answer of the guest's shell; waiting for locks is not in it. */
  bootTimeoutMs: number
  signal?: AbortSignal
  /** Called as each stage of the boot begins: `qemu`, `kernel`, `modules`, `root`, `shell`, `ready`. */
  onStage?: (stage: string) => void
}

/** How long it may take until it is known what a QEMU died of that is gone. */
const LAST_WORDS_MS = 1000

/**
 * Boots a VM and waits until its shell and its agent answer. Nothing is left of it where that fails.
 *
 * @throws InfrastructureError when QEMU refuses, with QEMU's own words
 * @throws GuestError when the guest does not come up in time, with its kernel's last lines
 */
export async function startVm(
  site: VmSite,
  spec: ResolvedSpec,
  { index, lease, bootTimeoutMs, signal: given, onStage = () => {} }: StartOptions,
): Promise<Vm> {
  const { host } = site.home
  const signal = stopSignal(given)
  const dir = `${site.dir}/${spec.name}`
  let stage = 'qemu'
  const reach = (next: string) => {
    stage = next
    onStage(next)
  }
  try {
    const [guest, accel] = await Promise.all([site.guest(), site.accel(spec.qemu, spec.accel)])
    signal?.throwIfAborted()
    await host.remove(dir) // of a VM of that name which died
    await host.makeDir(dir, 0o700)
    for (const device of lease.holding.pci) await bindVfio(host, device)
    const kernel = { ...guest, append: `${guest.append} dut.hostname=${spec.name}` }
    reach('qemu')
    const machine = await launch(site, spec, { dir, index, lease, accel, kernel, onStage: reach })
    if (stage === 'qemu') reach('kernel')
    const shell = new Shell(machine.console)
    try {
      await equip(site, machine, lease).catch(async (error) => {
        throw await orDeath(error, machine)
      })
      await awaitReady(machine, shell, { bootTimeoutMs, signal, stage: () => stage })
    } catch (error) {
      await discard(machine)
      throw error
    }
    reach('ready')
    const bootMs = performance.now() - machine.startedAt
    const forwards = forwardsOf(spec.devices)
    return new Vm({ home: site.home, dir, spec, machine, shell, bootMs, forwards, lease })
  } catch (error) {
    await host.remove(dir)
    await lease.release()
    throw error
  }
}

/** What can only be done to the host once QEMU is there: it has its memory, its threads and its taps. */
async function equip(
  { home: { host } }: VmSite,
  { qemu, qmp, where, devices }: Machine,
  lease: GrantedLease,
): Promise<void> {
  await lease.settle(qemu.pid)
  if (lease.pin) await pinVcpus({ host, qmp, where }, lease.pin)
  for (const { tap, bridge } of tapsOf(devices)) {
    if (bridge !== undefined) await ensureBridge(host, bridge)
    await attachTap(host, tap, bridge)
  }
}

/** The error; or what QEMU died of, for then it is only what came of that. */
async function orDeath(error: unknown, { qmp, life }: Machine): Promise<unknown> {
  try {
    await qmp.execute('query-status')
    return error
  } catch {
    const timeoutMs = LAST_WORDS_MS
    return waitFor(new Promise(() => {}), { timeoutMs, signal: life.ended }).catch(() =>
      life.ended.aborted ? life.ended.reason : error,
    )
  }
}

async function discard(machine: Machine): Promise<void> {
  machine.stopping = true
  machine.qemu.kill()
  await machine.qemu.exited
}

async function awaitReady(
  { agent, life, kernelLog, console, where, startedAt }: Machine,
  shell: Shell,
  {
    bootTimeoutMs,
    signal,
    stage,
  }: { bootTimeoutMs: number; signal?: AbortSignal; stage(): string },
): Promise<void> {
  const tail = () => `${kernelLog.tail()}\n${console.tail()}`
  try {
    await waitFor(Promise.all([agent.hello(), shell.ready()]), {
      timeoutMs: Math.max(1, bootTimeoutMs - (performance.now() - startedAt)),
      signal: stopSignal(life.signal, signal),
      onTimeout: () =>
        new GuestError(`the guest did not come up, it got as far as "${stage()}"`, {
          ...where,
          elapsedMs: performance.now() - startedAt,
          tail: tail(),
          hint: 'a slow host needs a longer bootTimeout; else look at the kernel lines above',
        }),
    })
  } catch (error) {
    if (error instanceof DutError && error.tail !== undefined) throw error
    if (signal?.aborted) throw error
    throw new GuestError(`the guest did not boot (stage "${stage()}"): ${asError(error).message}`, {
      tail: tail(),
      elapsedMs: performance.now() - startedAt,
      cause: error,
    })
  }
}
