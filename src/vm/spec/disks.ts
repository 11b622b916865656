import { isAbsolute } from 'node:path'
import { InfrastructureError, UsageError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import { checkKeys, nearestTo } from '../../options.ts'
import type { Disk } from '../../qemu/disks.ts'

/** A further disk of a VM. */
export interface DiskSpec {
  /** An image on the DUT: an absolute path. */
  file: string
  /** `'raw'`, `'qcow2'` or another one of QEMU's; looked up in the image where none is given. */
  format?: string
  /** `'virtio'` where none is given. */
  bus?: 'virtio' | 'scsi' | 'nvme'
  /** The guest cannot write to it. */
  readonly?: boolean
  /** `true` where it is not given: what the guest writes is gone with the VM, and the image is untouched. */
  snapshot?: boolean
}

const KEYS = ['file', 'format', 'bus', 'readonly', 'snapshot']
const BUSES = ['virtio', 'scsi', 'nvme']
/** Formats that qemu-img(1) of QEMU 7.2 lists for images in files. */
const FORMATS = ['raw', 'qcow2', 'qcow', 'qed', 'vdi', 'vhdx', 'vmdk', 'vpc', 'dmg', 'parallels']

/**
 * Disks that were checked, with their defaults.
 *
 * @param what names the VM in errors
 * @throws UsageError naming the option and what to write instead
 */
export function resolveDisks(what: string, disks: readonly DiskSpec[]): Disk[] {
  if (!Array.isArray(disks)) {
    throw new UsageError(`${what}: disks is not a list`, {
      hint: `disks: [{ file: '/images/data.qcow2' }]`,
    })
  }
  return disks.map((disk: DiskSpec, i) => {
    const which = `${what}: disks[${i}]`
    checkKeys(which, disk, KEYS)
    const { file, format, bus = 'virtio', readonly = false, snapshot = true } = disk
    if (typeof file !== 'string' || !isAbsolute(file)) {
      throw new UsageError(`${which}: file: ${JSON.stringify(file)} is not an absolute path`)
    }
    oneOf(`${which}: bus`, bus, BUSES)
    if (format !== undefined) oneOf(`${which}: format`, format, FORMATS)
    for (const [key, value] of Object.entries({ readonly, snapshot })) {
      if (typeof value === 'boolean') continue
      throw new UsageError(`${which}: ${key}: ${JSON.stringify(value)} is not true or false`)
    }
    return { file, ...(format && { format }), bus, readonly, snapshot }
  })
}

function oneOf(what: string, value: string, known: readonly string[]): void {
  if (known.includes(value)) return
  const nearest = nearestTo(String(value), known)
  throw new UsageError(`${what}: ${JSON.stringify(value)} is unknown`, {
    hint: nearest ? `did you mean '${nearest}'?` : `known are: ${known.join(', ')}`,
  })
}

/**
 * The disks with their formats, once it is known that their images can be opened.
 *
 * @throws InfrastructureError for an image that is not there or may not be opened
 */
export function openDisks(
  host: Host,
  disks: readonly Disk[],
  where: { vm: string; dut: string },
): Promise<Disk[]> {
  return Promise.all(
    disks.map(async (disk) => {
      const { file, readonly, snapshot } = disk
      const facts = await host.fileFacts(file)
      const writes = !readonly && !snapshot
      if (facts === undefined) {
        throw new InfrastructureError(`the disk ${file} is not there`, {
          ...where,
          hint: 'it is a path on the DUT; an empty one is made by: qemu-img create -f qcow2 FILE 1G',
        })
      }
      if (!facts.readable || (writes && !facts.writable)) {
        const what = facts.readable ? 'written' : 'read'
        throw new InfrastructureError(`the disk ${file} cannot be ${what} by this user`, {
          ...where,
          hint: facts.readable
            ? 'leave out snapshot: false, and nothing is written to it'
            : `chmod a+r ${file}`,
        })
      }
      return { ...disk, format: disk.format ?? (await formatOf(host, file)) }
    }),
  )
}

/**
 * What an image says that it is. QEMU guesses, too, but does not trust its guess of a raw image: it
 * refuses writes to its first block, and a guest that writes another format's header there could have
 * it open any file of the host.
 */
async function formatOf(host: Host, file: string): Promise<string> {
  const { stdout } = await host.run('head', ['--bytes=8', '--', file])
  return MAGIC.find(([start]) => stdout.startsWith(start))?.[1] ?? 'raw'
}

/** Of the formats' own documents; docs/interop/qcow2.txt in QEMU for the first. */
const MAGIC: readonly [start: string, format: string][] = [
  ['QFI\ufffd', 'qcow2'], // 0xfb, which is no text
  ['KDMV', 'vmdk'],
  ['vhdxfile', 'vhdx'],
  ['QED\0', 'qed'],
]
