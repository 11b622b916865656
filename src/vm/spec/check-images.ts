import { InfrastructureError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import type { ForeignGuest } from './custom-guest.ts'
import { openDisks } from './disks.ts'

/**
 * The guest with its disk's format, once it is known that its files can be read and that the disk can
 * be started from.
 *
 * @throws InfrastructureError naming the file and what to do
 */
export async function openGuest(
  host: Host,
  guest: ForeignGuest,
  where: { vm: string; dut: string },
): Promise<ForeignGuest> {
  for (const file of [guest.kernel, guest.initrd]) {
    if (file === undefined) continue
    const facts = await host.fileFacts(file)
    if (facts?.readable) continue
    const what = facts === undefined ? 'is not there' : 'cannot be read by this user'
    throw new InfrastructureError(`the guest's ${file} ${what}`, {
      ...where,
      hint: facts === undefined ? 'it is a path on the DUT' : `chmod a+r ${file}`,
    })
  }
  if (guest.disk === undefined) return guest
  const [disk = guest.disk] = await openDisks(host, [guest.disk], where)
  const { file } = disk
  if ((await host.run('test', ['-d', file])).exitCode === 0) {
    throw new InfrastructureError(`the disk ${file} is a folder`, {
      ...where,
      hint: 'name an image in it',
    })
  }
  if (disk.format === 'raw' && guest.kernel === undefined) {
    // The two bytes by which a BIOS knows a disk that can be started from.
    const { stdout } = await host.run('od', ['-An', '-tx1', '-j510', '-N2', '--', file])
    if (stdout.trim() !== '55 aa') {
      throw new InfrastructureError(`the disk ${file} is no image that a machine can start from`, {
        ...where,
        hint: 'it has no known header and no boot sector: is it an archive, or packed? A file system alone needs guest.kernel',
      })
    }
  } else if (disk.format === 'qcow2') {
    const { stdout } = await host.run('od', ['-An', '-tx1', '-N4', '--', file])
    if (stdout.trim() !== '51 46 49 fb') {
      throw new InfrastructureError(`the disk ${file} is no qcow2 image`, {
        ...where,
        hint: 'leave guest.format out, and it is looked up in the image',
      })
    }
  }
  return { ...guest, disk }
}
