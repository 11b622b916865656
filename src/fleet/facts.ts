import type { Host } from '../host/host.ts'
import { chooseAccel } from '../qemu/accel.ts'

export interface DutFacts {
  cores: number
  /** Bytes. */
  memory: { total: number; available: number }
  /** Pages of the default huge page size; `size` in bytes. */
  hugepages: { size: number; total: number; free: number }
  qemu: string
  accel: 'kvm' | 'tcg'
  /** Why, as a sentence. */
  accelReason: string
}

export async function dutFacts(host: Host, cacheDir?: string): Promise<DutFacts> {
  const qemu = 'qemu-system-x86_64'
  const [meminfo, cores, version, accel] = await Promise.all([
    host.readFile('/proc/meminfo').then((bytes) => Buffer.from(bytes).toString()),
    host.run('nproc', ['--all']),
    host.run(qemu, ['--version']),
    chooseAccel({ host, qemu, wanted: 'auto', cacheDir }),
  ])
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1])
  return {
    cores: Number(cores.stdout),
    memory: { total: field('MemTotal') * 1024, available: field('MemAvailable') * 1024 },
    hugepages: {
      size: field('Hugepagesize') * 1024,
      total: field('HugePages_Total'),
      free: field('HugePages_Free'),
    },
    qemu: /version (\S+)/.exec(version.stdout)?.[1] ?? version.stdout.trim(),
    accel: accel.accel,
    accelReason: accel.reason,
  }
}
