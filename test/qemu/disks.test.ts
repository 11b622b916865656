import { expect, test } from 'vitest'
import { type Disk, diskArgs } from '../../src/qemu/disks.ts'
import { valuesOf } from '../support/shape.ts'

const disk = (given: Partial<Disk> = {}): Disk => ({
  ...{ file: '/d', format: 'raw', bus: 'virtio', readonly: false, snapshot: true },
  ...given,
})

test.each<[Partial<Disk>, string]>([
  [{}, 'if=none,id=disk0,file=/d,format=raw,snapshot=on'],
  [{ file: '/a,b' }, 'if=none,id=disk0,file=/a,,b,format=raw,snapshot=on'],
  [{ format: undefined }, 'if=none,id=disk0,file=/d,snapshot=on'],
  [{ snapshot: false }, 'if=none,id=disk0,file=/d,format=raw'],
  [{ readonly: true }, 'if=none,id=disk0,file=/d,format=raw,readonly=on'],
  [{ readonly: true, snapshot: false }, 'if=none,id=disk0,file=/d,format=raw,readonly=on'],
])('a disk %j is the drive %j', (given, drive) => {
  expect(diskArgs([disk(given)]).slice(0, 2)).toEqual(['-drive', drive])
})

test('each is at its bus, with a serial number by its place', () => {
  const disks = [disk(), disk({ bus: 'scsi' }), disk({ bus: 'nvme' }), disk({ bus: 'scsi' })]
  const devices = valuesOf('-device', { disks }).filter((device) => /disk\d|scsi/.test(device))
  expect(devices).toEqual([
    'virtio-scsi-pci,id=scsi0',
    'virtio-blk-pci,drive=disk0,serial=disk0',
    'scsi-hd,bus=scsi0.0,drive=disk1,serial=disk1',
    'nvme,drive=disk2,serial=disk2',
    'scsi-hd,bus=scsi0.0,drive=disk3,serial=disk3',
  ])
})

test('no disk, no argument', () => {
  expect(diskArgs([])).toEqual([])
})
