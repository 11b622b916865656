import { anySignal } from '../../abort.ts'
import { Shell } from '../../console/shell.ts'
import { GuestError } from '../../errors.ts'
import { asideOf } from '../../guest-protocol/exec.ts'
import type { Guest } from '../../image/guest.ts'
import type { GrantedLease } from '../../lease/admission/grant.ts'
import { MEMORY_COPY } from '../../qemu/process.ts'
import { waitFor } from '../../wait.ts'
import type { Booted } from '../boot/cold-boot.ts'
import type { Template, VmSite } from '../instance/host-services.ts'
import { launch } from '../instance/launch.ts'
import { discard } from '../instance/qemu-instance.ts'
import type { Machine } from '../instance/running-guest.ts'
import { bootOf } from '../spec/boot-source.ts'
import type { ResolvedSpec } from '../spec/spec.ts'
import { loadState } from './state-file.ts'

interface CloneOptions {
  dir: string
  index: number
  lease: GrantedLease
  accel: 'kvm' | 'tcg'
  guest: Guest
  template: Template
  bootTimeoutMs: number
  signal?: AbortSignal
  onStage: (stage: string) => void
  onLaunched: (machine: Machine) => Promise<void>
}

/**
 * Restores a saved machine, gives it an identity of its own and binds its NICs. Nothing is left
 * of it where that fails.
 */
export async function clone(
  site: VmSite,
  spec: ResolvedSpec,
  { template, guest, signal, onStage, onLaunched, bootTimeoutMs, ...options }: CloneOptions,
): Promise<Booted> {
  onStage('restore')
  const { memory, disk, folder } = template
  // Others write into shared memory, so it is a copy; else what the guest does not change stays shared.
  const isCopy = memory !== undefined && spec.memory.shared
  const machine = await launch(site, spec, {
    ...{ ...options, incoming: true, onStage: () => {} },
    boot: bootOf(spec, guest, {
      hostname: spec.name,
      ...(disk && { disk: { file: disk, snapshot: true } }),
    }),
    ...(isCopy && { copy: { of: memory, beside: folder } }),
    ...(memory && { memoryFile: isCopy ? MEMORY_COPY : { path: memory, share: false } }),
  })
  const shell = new Shell(machine.console, { lookAside: asideOf(machine) })
  const restore = async () => {
    await loadState(machine, { path: template.state, withMemory: memory === undefined })
    machine.kernelLog.continueFrom(template.kernelLog)
    await Promise.all([
      machine.qmp.execute('cont'),
      onLaunched(machine),
      machine.agent.identify({ hostname: spec.name }),
      shell.adopt({ hostname: spec.name, isPlain: spec.guest === 'default' }),
    ])
    onStage('devices')
    if (spec.devices.length > 0) await machine.agent.bindNics()
  }
  try {
    await waitFor(restore(), {
      timeoutMs: bootTimeoutMs / 2, // what it was cloned from may be to blame, and then it is to boot
      signal: anySignal(signal, machine.life.ended),
      onTimeout: (elapsedMs) =>
        new GuestError('the clone does not answer', { ...machine.where, elapsedMs }),
    })
  } catch (error) {
    await discard(machine)
    throw error
  }
  return { machine, shell }
}
