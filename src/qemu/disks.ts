import { optionValue } from './option-value.ts'

/** A disk as QEMU is given it. */
export interface Disk {
  file: string
  /** QEMU's name of it; QEMU's own guess where none is given, which it warns of for raw images. */
  format?: string
  bus: 'virtio' | 'scsi' | 'nvme'
  readonly: boolean
  /** What the guest writes goes into a file without a name, which is gone with QEMU. */
  snapshot: boolean
}

/** The serial number that the guest sees, and the id of its drive in QEMU, by its place in the list. */
export function diskId(index: number): string {
  return `disk${index}`
}

/** QEMU's arguments for the disks, in their order. */
export function diskArgs(disks: readonly Disk[]): string[] {
  const controller = disks.some(({ bus }) => bus === 'scsi')
    ? ['-device', 'virtio-scsi-pci,id=scsi0']
    : []
  return [...controller, ...disks.flatMap((disk, i) => driveArgs(disk, diskId(i)))]
}

/** One disk, at a controller that is there. @param more properties of its device */
export function driveArgs(disk: Disk, id: string, more: Record<string, number> = {}): string[] {
  const properties = Object.entries(more).map(([key, value]) => `,${key}=${value}`)
  return ['-drive', driveOption(disk, id), '-device', deviceOption(disk, id) + properties.join('')]
}

function driveOption({ file, format, readonly, snapshot }: Disk, id: string): string {
  return [
    ...['if=none', `id=${id}`, `file=${optionValue(file)}`],
    ...(format === undefined ? [] : [`format=${format}`]),
    ...(readonly ? ['readonly=on'] : []),
    // A disk that nobody writes to needs no place for what is written.
    ...(snapshot && !readonly ? ['snapshot=on'] : []),
  ].join(',')
}

function deviceOption({ bus }: Disk, id: string): string {
  const common = `drive=${id},serial=${id}`
  switch (bus) {
    case 'virtio':
      return `virtio-blk-pci,${common}`
    case 'scsi':
      return `scsi-hd,bus=scsi0.0,${common}`
    case 'nvme':
      return `nvme,${common}`
  }
}
