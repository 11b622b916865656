import type { Shell } from '../../console/shell.ts'
import { UsageError } from '../../errors.ts'
import type { GrantedLease } from '../../lease/admission/grant.ts'
import type { Plugs } from '../hotplug/hotplug.ts'
import type { VmHome, VmSite } from '../instance/host-services.ts'
import type { EngineOptions } from '../instance/qemu-instance.ts'
import type { Machine } from '../instance/running-guest.ts'
import type { ResolvedSpec } from '../spec/spec.ts'
import type { Snapshots } from './snapshot.ts'

/** What a running VM consists of. */
export interface VmParts {
  home: VmHome
  site: VmSite
  /** The VM's number on its DUT. */
  index: number
  accel: 'kvm' | 'tcg'
  /** What it boots. */
  boot: EngineOptions['boot']
  dir: string
  spec: ResolvedSpec
  machine: Machine
  shell: Shell
  bootMs: number
  startedBy: 'cold' | 'clone'
  plugs: Plugs
  snapshots: Snapshots
  /** Of the QEMU that it is in. */
  lease: GrantedLease
  /** How many times it was begun to move it. */
  generation: number
}

const parts = new WeakMap<object, VmParts>()

/** Has {@link partsOf} know them. */
export function keepParts(vm: object, its: VmParts): void {
  parts.set(vm, its)
}

/** What a VM consists of, for what concerns several VMs at once. @throws UsageError for no VM */
export function partsOf(vm: object): VmParts {
  const found = parts.get(vm)
  if (found !== undefined) return found
  throw new UsageError(`${JSON.stringify(vm)} is no VM`, { hint: 'dut.vms has those that run' })
}
