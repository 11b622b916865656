import { atCallSite } from '../call-site.ts'
import { checkKeys } from '../options.ts'
import type { Port } from '../vm/network/ports.ts'
import { type DetectOptions, detect } from '../vm/network/topology.ts'
import type { Vm } from '../vm/vm.ts'

/**
 * What the ports of VMs are wired to, in the order of the VMs: what `vm.ports()` says, and in `connected`
 * what a probe found, which has each port send tagged broadcasts and listen for those of the others. The
 * guests' addresses and settings stay as they are: ports that are down are up for the time, and down again.
 *
 * @param vms of one DUT or of several
 * @throws GuestError when a guest does not answer
 * @throws UsageError for a VM that is paused, or has no agent
 */
export function detectTopology(vms: readonly Vm[], options: DetectOptions = {}): Promise<Port[][]> {
  return atCallSite(detectTopology, async () => {
    checkKeys('detectTopology', options, ['timeout', 'signal'])
    return detect(vms, [], options)
  })
}
