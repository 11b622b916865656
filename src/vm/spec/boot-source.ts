import type { Host } from '../../host/host.ts'
import type { Guest } from '../../image/guest.ts'
import type { Boot } from '../../qemu/guest-args.ts'
import { openGuest } from './check-images.ts'
import { openDisks } from './disks.ts'
import type { ResolvedSpec } from './spec.ts'

/**
 * What a VM boots.
 *
 * @param guest the built-in one, whose agent all guests are given
 * @param options.hostname what the built-in guest is called
 * @param options.disk in place of the guest's own, a file that has what was written to that
 */
export function bootOf(
  { guest: own }: ResolvedSpec,
  guest: Guest,
  { hostname, disk }: { hostname?: string; disk?: { file: string; snapshot: boolean } } = {},
): Boot {
  if (own === 'default') {
    const name = hostname === undefined ? '' : ` dut.hostname=${hostname}`
    return { ...guest, append: guest.append + name }
  }
  const { login: _, ...boot } = own
  if (boot.disk && disk) boot.disk = { ...boot.disk, ...disk, format: 'qcow2' }
  return { ...boot, agent: guest.agent }
}

/** A spec whose images have been looked at. @throws InfrastructureError for one that cannot be opened */
export async function withOpenDisks(
  host: Host,
  spec: ResolvedSpec,
  where: { vm: string; dut: string },
): Promise<ResolvedSpec> {
  const { guest } = spec
  const disks = await openDisks(host, spec.disks, where)
  if (guest === 'default') return { ...spec, disks }
  return { ...spec, disks, guest: await openGuest(host, guest, where) }
}
