import type { Host } from '../host/host.ts'
import { readText } from '../host/read-text.ts'
import { readParallelism } from '../lease/resources/cpus.ts'
import { readMemory } from '../lease/resources/memory.ts'
import { readPages } from '../lease/resources/pages.ts'
import { chooseAccel } from '../qemu/accel.ts'

export interface DutFacts {
  /** CPUs that may be used: those online, less where an affinity or a control group limits them. */
  cores: number
  /** Bytes without those in huge pages, less where a control group limits them. */
  memory: { total: number; available: number }
  /** Pages of the default huge page size that may be used; `size` in bytes. */
  hugepages: { size: number; total: number; free: number }
  qemu: string
  accel: 'kvm' | 'tcg'
  /** Why, as a sentence. */
  accelReason: string
}

export async function dutFacts(host: Host, cacheDir?: string): Promise<DutFacts> {
  const qemu = 'qemu-system-x86_64'
  const [memory, cores, { defaultSize, limits }, meminfo, version, accel] = await Promise.all([
    readMemory(host),
    readParallelism(host),
    readPages(host),
    readText(host, '/proc/meminfo'),
    host.run(qemu, ['--version']),
    chooseAccel({ host, qemu, wanted: 'auto', cacheDir }),
  ])
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1])
  const limit = defaultSize && limits?.[defaultSize]
  return {
    cores,
    memory,
    hugepages: {
      size: field('Hugepagesize') * 1024,
      total: Math.min(field('HugePages_Total'), limit?.total ?? Infinity),
      free: Math.min(field('HugePages_Free'), limit?.free ?? Infinity),
    },
    qemu: /version (\S+)/.exec(version.stdout)?.[1] ?? version.stdout.trim(),
    accel: accel.accel,
    accelReason: accel.reason,
  }
}
