import type { CoreWish } from './cores.ts'
import type { PageSize } from './pages.ts'
import type { BoundDevice } from './pci.ts'
import type { PortRange } from './ports.ts'

/** What one VM, or one call of `dut.lease`, wants of a host. */
export interface Need {
  dut: string
  /** The VM's name; none where a test wants it for itself. */
  vm?: string
  /** The suite's folder on the host. */
  dir?: string
  /** Bytes of ordinary memory. */
  memory?: number
  pages?: {
    /** The host's default size where none is given. */
    size?: PageSize
    /** Bytes. */
    bytes: number
    node?: number
  }
  cores?: CoreWish
  /** How many host ports, each for TCP and UDP. */
  ports?: number
  /** What they are chosen from; {@link PORT_RANGE} where none is given. */
  portRange?: PortRange
  /** Addresses of PCI devices, each for this VM alone. */
  pci?: readonly string[]
  /** Bridges that it joins together with others. */
  bridges?: readonly string[]
  /** Anything else that one can have at a time, by a name that all agree on. */
  names?: readonly string[]
}

/** What was promised to one of them: nobody else is given any of it. */
export interface Holding {
  /** Bytes of ordinary memory. */
  memory: number
  pages?: HeldPages
  /** With the hardware threads that are kept free beside them. */
  cpus: readonly number[]
  ports: readonly number[]
  pci: readonly BoundDevice[]
  /** Not for itself alone. */
  bridges: readonly string[]
  names: readonly string[]
}

export interface HeldPages {
  size: PageSize
  node: number
  count: number
  /** Memory must be kept to the node, because there are others that it could come from. */
  bind: boolean
  /** How the pool was grown for it: from so many pages to so many. */
  grown?: { from: number; to: number }
}

/** What a choice adds to its holding: which of the reserved threads are to be used. */
export interface Choice {
  need: Need
  holding: Holding
  /** Where the virtual CPUs are pinned, one each; undefined where they are not. */
  pin?: readonly number[]
}
