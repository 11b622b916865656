import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Dut } from '../../src/fleet/dut.ts'
import { localHost } from '../../src/host/local.ts'
import type { VmSpec } from '../../src/vm/spec/spec.ts'
import { debianDisk, ROOT } from './disk.ts'

/** The tests' Debian, changed by a script that runs in its root folder. */
export async function diskVariant(
  dut: Dut,
  script: string,
): Promise<VmSpec & { guest: { disk: string }; login: typeof ROOT }> {
  const { disk } = await debianDisk()
  const folder = mkdtempSync(join(tmpdir(), 'dut-variant-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'variant.qcow2')
  const args = ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', disk, file]
  const { exitCode, stderr } = await localHost().run('qemu-img', args)
  if (exitCode !== 0) throw new Error(stderr)
  const editor = await dut.start({ memory: '256M', disks: [{ file, snapshot: false }] })
  const edit = `set -e; modprobe ext4; mkdir /mnt/disk
    for disk in /sys/block/vd*; do
      [[ $(<$disk/serial) != disk0 ]] || mount /dev/\${disk##*/}2 /mnt/disk
    done
    cd /mnt/disk; ${script}
    cd /; umount /mnt/disk`
  await editor.exec(edit, { check: true, timeout: '5m' })
  await dut.stop(editor)
  return { guest: { disk: file }, login: ROOT, memory: '256M' }
}
