import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { localHost } from '../../../src/host/local.ts'
import { openDisks, resolveDisks } from '../../../src/vm/spec/disks.ts'

const dir = mkdtempSync(join(tmpdir(), 'dut-disks-'))
afterAll(() => rmSync(dir, { recursive: true }))
const where = { vm: 'vm0', dut: 'dut0' }
const open = (file: string, more = {}) =>
  openDisks(localHost(), resolveDisks('vm0', [{ file, ...more }]), where)

test.each(['raw', 'qcow2', 'vmdk', 'vhdx', 'qed'])(
  'an image of format %s is known as one',
  async (format) => {
    const file = join(dir, format)
    execFileSync('qemu-img', ['create', '-q', '-f', format, file, '1M'])
    expect((await open(file))[0]?.format).toBe(format)
  },
)

test('what is given is not looked up', async () => {
  const file = join(dir, 'text')
  writeFileSync(file, 'QFI')
  expect((await open(file))[0]?.format).toBe('raw')
  expect((await open(file, { format: 'vpc' }))[0]?.format).toBe('vpc')
})

test('one that is not there is told with the VM', async () => {
  await expect(open(join(dir, 'none'))).rejects.toThrow(/dut0\/vm0: the disk .*none is not there/)
})
