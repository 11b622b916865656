import { UsageError } from '../errors.ts'
import type { DiskSpec } from '../vm/spec/disks.ts'
import { asTheyAre, type Key } from './machine-keys.ts'

const BUSES: Record<string, DiskSpec['bus']> = { virtio: 'virtio', scsi: 'scsi' }

/** The keys that are about what a VM boots. */
export const DISK_KEYS: Record<string, Key> = {
  disk: {
    options: ['file', 'opt_format', 'type', 'opt_if', 'opt_index', 'opt_media'],
    read: (options, { guest, spec, notes }) => {
      const file = options.need('file')
      const type = options.get('type')
      const format = options.get('opt_format') ?? type
      if (type !== undefined) notes.push(`disk: type=${type} is read as opt_format=${format}`)
      const bus = options.get('opt_if') ?? 'virtio'
      const place = (guest.disk === undefined ? 0 : 1) + spec.disks.length
      if ((options.number('opt_index') ?? place) !== place) {
        options.refuse('opt_index', 'disks are in the order in which they are given')
      }
      if (![undefined, 'disk'].includes(options.get('opt_media'))) {
        throw new UsageError(`${options.what}: opt_media: only disks are known`, {
          hint: 'a medium of another kind: usercmd with -drive and -device',
        })
      }
      if (!Object.hasOwn(BUSES, bus)) {
        throw new UsageError(`${options.what}: opt_if: ${JSON.stringify(bus)} is not honoured`, {
          hint: 'virtio or scsi; another bus: usercmd with -drive and -device',
        })
      }
      if (guest.disk === undefined && bus !== 'virtio') {
        throw new UsageError(`${options.what}: opt_if: what a VM boots is a virtio disk`, {
          hint: 'opt_if=virtio, or leave it out; scsi is for those that come after it',
        })
      }
      // The first is what it boots.
      if (guest.disk === undefined) {
        guest.disk = file
        if (format !== undefined) guest.format = format
      } else spec.disks.push({ file, ...(format && { format }), bus: BUSES[bus] })
    },
  },
  pflash: {
    options: ['file'],
    read: (options, { spec, notes }) => {
      spec.extraArgs.push('-pflash', options.need('file'))
      notes.push(asTheyAre('pflash'))
    },
  },
  kernel: {
    options: ['kernel_img', 'console', 'baudrate', 'root'],
    read: (options, { guest }) => {
      const [terminal, baud] = [options.get('console'), options.get('baudrate')]
      const root = options.get('root')
      guest.kernel = options.need('kernel_img')
      guest.append = [
        ...(terminal ? [`console=${terminal}${baud ? `,${baud}` : ''}`] : []),
        ...(root ? [`root=${root}`] : []),
      ].join(' ')
    },
  },
}
