import { DutError, firstLine, GuestError, UsageError } from '../errors.ts'
import type { GrantedLease } from '../lease/admission/grant.ts'
import { bindVfio } from '../lease/resources/pci.ts'
import { checkMachineAccel, machineKind } from '../qemu/machine-kind.ts'
import { stopSignal } from '../scope.ts'
import { performance } from '../time.ts'
import { type Booted, boot } from './boot/cold-boot.ts'
import { Plugs } from './hotplug/hotplug.ts'
import type { Template, VmSite } from './instance/host-services.ts'
import { attachTaps, settle } from './instance/post-launch.ts'
import type { Machine } from './instance/running-guest.ts'
import { Snapshots } from './lifecycle/snapshot.ts'
import { bootOf, withOpenDisks } from './spec/boot-source.ts'
import { loginOf, type ResolvedSpec } from './spec/spec.ts'
import { clone } from './template/clone.ts'
import { obtainTemplate, whyNoTemplate } from './template/obtain.ts'
import { Vm } from './vm.ts'

export interface StartOptions {
  /** The VM's number on its DUT, which its Ethernet addresses are made from. */
  index: number
  /** What it was promised of the host; from here on it is the VM's, or released where it does not start. */
  lease: GrantedLease
  /** From QEMU's start to the first answer of the guest's shell; waiting for locks is not in it. */
  bootTimeoutMs: number
  signal?: AbortSignal
  /**
   * Called as each stage begins: `qemu`, `kernel`, `modules`, `root`, `shell` of a boot, `template`,
   * `restore`, `devices` of a clone; then `ready`.
   */
  onStage?: (stage: string) => void
}

/**
 * Starts a VM, from a template where its spec and its shape allow that, and waits until its shell and
 * its agent answer. Nothing is left of it where that fails.
 *
 * @throws InfrastructureError when QEMU refuses, with QEMU's own words
 * @throws GuestError when the guest does not come up in time, with its kernel's last lines
 * @throws UsageError when it is to be a clone and cannot be one
 */
export async function startVm(
  site: VmSite,
  wanted: ResolvedSpec,
  { index, lease, bootTimeoutMs, signal: given, onStage = () => {} }: StartOptions,
): Promise<Vm> {
  const { host, name: dut } = site.home
  const signal = stopSignal(given)
  const dir = `${site.dir}/${wanted.name}`
  const { name: arch } = machineKind(wanted.machine).arch
  try {
    const [guest, accel, spec] = await Promise.all([
      site.guest(arch),
      site.accel(wanted.qemu, wanted.accel, arch),
      withOpenDisks(host, wanted, { vm: wanted.name, dut }),
    ])
    checkMachineAccel(spec, accel)
    signal?.throwIfAborted()
    await host.remove(dir) // of a VM of that name which died
    await host.makeDir(dir, 0o700)
    for (const device of lease.holding.pci) await bindVfio(host, device)
    const common = {
      ...{ dir, index, lease, accel, guest, bootTimeoutMs, signal, onStage },
      onLaunched: (machine: Machine) => equip(site, machine, lease),
    }
    const what = bootOf(spec, guest, { hostname: spec.name })
    const login = loginOf(spec)
    const cloned = await tryToClone(site, spec, common)
    const { machine, shell } = cloned ?? (await boot(site, spec, { ...common, boot: what, login }))
    onStage('ready')
    machine.runs.begin()
    return new Vm({
      ...{ home: site.home, site, index, accel, boot: what, dir, spec, machine, shell, lease },
      bootMs: performance.now() - machine.startedAt,
      startedBy: cloned ? 'clone' : 'cold',
      plugs: new Plugs(site, spec, machine, { index, accel }),
      snapshots: new Snapshots(machine, shell, dir),
      generation: 0,
    })
  } catch (error) {
    await host.remove(dir)
    await lease.release()
    throw error
  }
}

/** Undefined where the VM is to boot: its shape or its spec say so, or the template is of no use. */
async function tryToClone(
  site: VmSite,
  spec: ResolvedSpec,
  options: Parameters<typeof obtainTemplate>[2] & Omit<Parameters<typeof clone>[2], 'template'>,
): Promise<Booted | undefined> {
  const { name, boot } = spec
  if (boot === 'cold') return undefined
  const reason = whyNoTemplate(spec)
  if (reason !== undefined && boot === 'template') {
    throw new UsageError(`${name}: boot: 'template' cannot be: ${reason}`, {
      hint: `leave boot out, and it boots from its kernel on`,
    })
  }
  // Without its name: a line for each reason is enough.
  const note = (why: string) => site.note(`a VM boots from its kernel on: ${why}`)
  if (reason !== undefined) {
    note(reason)
    return undefined
  }
  let template: Template | undefined
  try {
    template = await obtainTemplate(site, spec, options)
    if (template.unfinished.length > 0) site.note(halfBooted(template.unfinished))
    return await clone(site, spec, { ...options, template })
  } catch (error) {
    options.signal?.throwIfAborted()
    if (boot === 'template') throw error
    // A guest of the user's own that did not boot for its template does not for a VM, and a password that
    // was refused is not typed again, which may lock the account.
    const isRefused = template === undefined && error instanceof GuestError
    if (isRefused && spec.guest !== 'default') throw error
    note(error instanceof DutError ? error.shortMessage : firstLine(error))
    await site.home.host.remove(options.dir)
    await site.home.host.makeDir(options.dir, 0o700)
    return undefined
  }
}

function halfBooted(units: readonly string[]): string {
  const missing = units.join(', ')
  return `VMs are clones of a guest that had not finished starting: it waited for ${missing} (boot: 'cold' saves nothing)`
}

/** What can only be done to the host once QEMU is there: it has its memory, its threads and its taps. */
async function equip(
  { home: { host } }: VmSite,
  machine: Machine,
  lease: GrantedLease,
): Promise<void> {
  await settle(host, machine.engine, lease)
  await attachTaps(host, machine.devices)
}
