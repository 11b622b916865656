import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type DiskSpec,
  dutTest,
  expect,
  InfrastructureError,
  UsageError,
  type Vm,
} from 'vitest-dut'

const test = dutTest({ vms: 0 })
const way = process.env.VITEST_DUT_BOOT === 'cold' ? 'cold' : 'clone'

const dir = mkdtempSync(join(tmpdir(), 'dut-disks-'))
test.afterAll(() => rmSync(dir, { recursive: true }))

const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')

/** An image of 16 MB, with a text at its beginning. */
function image(name: string, format: 'raw' | 'qcow2', text: string): string {
  const [raw, path] = [join(dir, `${name}.raw`), join(dir, name)]
  const bytes = Buffer.alloc(16 << 20)
  bytes.write(text)
  writeFileSync(format === 'raw' ? path : raw, bytes)
  if (format === 'qcow2') execFileSync('qemu-img', ['convert', '-O', 'qcow2', raw, path])
  return path
}

/** The block device whose disk has that serial number, found as no name of the kernel's has to be known. */
const find = (n: number) => `
modprobe -aq virtio_scsi sd_mod
exec {never}<> <(:)
find_disk() {
  for block in /sys/block/*; do
    [ "$(cat $block/serial $block/device/serial 2>/dev/null | tr -d ' \\n')" = disk${n} ] && return
    grep -aqs disk${n} $block/device/vpd_pg80 && return
  done
  return 1
}
until find_disk; do read -rt 0.02 -u $never; done
disk=/dev/\${block##*/}`

const read = async (vm: Vm, n: number, bytes: number) =>
  (await vm.exec(`${find(n)}\nhead -c ${bytes} $disk`, { check: true, timeout: '20s' })).stdout
const write = (vm: Vm, n: number, text: string) =>
  vm.exec(`${find(n)}\nprintf '${text}' | dd of=$disk conv=notrunc,fsync status=none`, {
    check: true,
    timeout: '20s',
  })

test('disks of every bus and format are read and written, and the images are as they were', async ({
  dut,
}) => {
  const files = [image('a', 'raw', 'raw one'), image('b', 'qcow2', 'qcow two')] as const
  const before = files.map(sha256)
  const disks: DiskSpec[] = [
    { file: files[0] },
    { file: files[1] },
    { file: files[1], bus: 'scsi' },
    { file: files[0], readonly: true },
  ]
  // Two VMs have the same images open, and each has what it wrote itself.
  const vms = await dut.startAll([{ disks }, { disks }])
  expect(vms.map((vm) => vm.startedBy)).toEqual([way, way])
  expect(vms[0]?.spec.disks.map(({ format }) => format)).toEqual([
    ...['raw', 'qcow2', 'qcow2', 'raw'],
  ])
  for (const [i, vm] of vms.entries()) {
    const texts = ['raw one', 'qcow two', 'qcow two', 'raw one']
    for (const [n, text] of texts.entries()) {
      expect(await read(vm, n, text.length)).toBe(text)
      if (n === 3) await expect(write(vm, n, 'never')).rejects.toThrow(/status 1/)
      else await write(vm, n, `${text.slice(0, -1)}${i}`)
    }
  }
  for (const [i, vm] of vms.entries()) {
    expect(await read(vm, 0, 7)).toBe(`raw on${i}`)
    expect(await read(vm, 1, 8)).toBe(`qcow tw${i}`)
  }
  await Promise.all(vms.map((vm) => dut.stop(vm)))
  expect(files.map(sha256)).toEqual(before)
})

test('a disk at an nvme bus: its VM boots, and keeps no states', async ({ dut }) => {
  const vm = await dut.start({ disks: [{ file: image('n', 'raw', 'nvme'), bus: 'nvme' }] })
  expect(vm.startedBy).toBe('cold')
  expect(await read(vm, 0, 4)).toBe('nvme')
  const error = await vm.snapshot().catch((e) => e)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toMatch(/non-migratable device '.*nvme'/)
  expect((await vm.exec('echo on')).stdout).toBe('on\n')
})

test('without snapshot the image is written to, by one VM at a time', async ({ dut }) => {
  const file = image('c', 'qcow2', 'before')
  const spec = { disks: [{ file, snapshot: false }] }
  const vm = await dut.start(spec)
  expect(vm.startedBy).toBe('cold')
  await write(vm, 0, 'after!')
  const error = await dut.start({ name: 'other', ...spec }).catch((e) => e)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toMatch(/other: QEMU ended: .*Failed to get .* lock/s)
  expect(error.hint).toContain('another QEMU has the image open')
  await dut.stop(vm)
  const again = await dut.start({ disks: [{ file }] })
  expect(await read(again, 0, 6)).toBe('after!')
})

test('an image that was changed is read anew, not from the memory of a template', async ({
  dut,
}) => {
  const file = image('d', 'raw', 'first')
  const look = async () => {
    const vm = await dut.start({ memory: '192M', disks: [{ file }] })
    const text = await read(vm, 0, 5)
    await dut.stop(vm)
    return [vm.startedBy, text]
  }
  expect(await look()).toEqual([way, 'first'])
  image('d', 'raw', 'other')
  expect(await look()).toEqual([way, 'other'])
})

test('a snapshot takes the disks along', async ({ dut }) => {
  const files = [image('e', 'raw', 'start'), image('f', 'qcow2', 'start')] as const
  const vm = await dut.start({ disks: files.map((file) => ({ file })) })
  const writeBoth = async (text: string) => {
    for (const n of [0, 1]) await write(vm, n, text)
  }
  await writeBoth('kept!')
  const snapshot = await vm.snapshot()
  for (let i = 0; i < 2; i++) {
    await writeBoth(`lost${i}`)
    await vm.restore(snapshot)
    await vm.exec('echo 3 >/proc/sys/vm/drop_caches', { check: true })
    expect([await read(vm, 0, 5), await read(vm, 1, 5)]).toEqual(['kept!', 'kept!'])
  }

  const file = image('h', 'raw', 'start')
  const raw = await dut.start({ disks: [{ file, snapshot: false }], name: 'raw' })
  const error = await raw.snapshot().catch((e) => e)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toContain('a disk of format raw keeps no states')
  expect((await raw.exec('echo on')).stdout).toBe('on\n')
})

test('what cannot be a disk is refused, with what to do', async ({ dut }) => {
  const missing = await dut.start({ disks: [{ file: join(dir, 'none') }] }).catch((e) => e)
  expect(missing).toBeInstanceOf(InfrastructureError)
  expect(missing.message).toMatch(/vm0: the disk .*\/none is not there/)
  expect(missing.hint).toContain('qemu-img create')
  const text = image('g', 'raw', 'plain')
  const wrong = await dut.start({ disks: [{ file: text, format: 'qcow2' }] }).catch((e) => e)
  expect(wrong).toBeInstanceOf(InfrastructureError)
  expect(wrong.message).toMatch(/Image is not in qcow2 format/)
  for (const [disk, message] of [
    [{ file: 'relative' }, /disks\[0\]: file: "relative" is not an absolute path/],
    [{ file: text, bus: 'virtoi' }, /bus: "virtoi" is unknown[\s\S]*did you mean 'virtio'\?/],
    [{ file: text, format: 'qcow3' }, /format: "qcow3" is unknown[\s\S]*'qcow2'/],
    [{ file: text, read: true }, /unknown option "read"[\s\S]*"readonly"/],
    [{ file: text, snapshot: 'no' }, /snapshot: "no" is not true or false/],
  ] as const) {
    const error = await dut.start({ disks: [disk as never] }).catch((e) => e)
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toMatch(message)
  }
})
