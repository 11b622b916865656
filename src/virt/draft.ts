import type { Login } from '../console/login-prompt.ts'
import type { Device } from '../qemu/devices.ts'
import type { GuestSpec } from '../vm/spec/custom-guest.ts'
import type { DiskSpec } from '../vm/spec/disks.ts'
import type { CpuSpec, MemorySpec, VmSpec } from '../vm/spec/spec.ts'

/** What a NIC is to be like, whatever it is connected to. */
export interface NicDraft {
  mac?: string
  properties?: Record<string, string | number>
}

/** What the keys of DTS have said of a VM so far. */
export interface Draft {
  spec: Omit<VmSpec, 'cpus' | 'memory' | 'guest' | 'login'> & {
    cpus?: CpuSpec
    memory?: MemorySpec
    devices: Device[]
    disks: DiskSpec[]
    extraArgs: string[]
  }
  guest: GuestSpec
  login: Partial<Login>
  /** A NIC that was described, and whose connection comes with the next element. */
  nic?: NicDraft
  /** Makes the device anew that no NIC was described for yet. */
  unpaired?: (nic: NicDraft) => void
  /** Milliseconds that its start may take. */
  startTimeoutMs?: number
  /** The keys by which it is to have the QEMU guest agent's port. */
  agent: string[]
  /** What is done in another way than in DTS, a sentence each. */
  notes: string[]
}

export function newDraft(): Draft {
  return {
    spec: { devices: [], disks: [], extraArgs: [] },
    ...{ guest: {}, login: {}, agent: [], notes: [] },
  }
}
