import {
  CGROUP_FILES,
  type Cgroup,
  type CgroupFiles,
  cgroupsOf,
  NO_LIMIT,
} from '../../host/cgroups.ts'
import type { Host } from '../../host/host.ts'
import { readText } from '../../host/read-text.ts'

/** Ordinary memory, without huge pages. */
export interface HostMemory {
  /** Bytes. */
  total: number
  /** Bytes that programs can still have without any being swapped out. */
  available: number
}

/** The kernel's files about it; other files only in tests. */
export interface MemoryFiles extends CgroupFiles {
  meminfo: string
}

const FILES: MemoryFiles = { meminfo: '/proc/meminfo', ...CGROUP_FILES }

/**
 * The memory that programs of this process may use: the host's, less where a control group limits it,
 * as in a container.
 */
export async function readMemory(host: Host, files: MemoryFiles = FILES): Promise<HostMemory> {
  const [meminfo, ...limits] = await Promise.all([
    readText(host, files.meminfo),
    ...(await cgroupsOf(host, 'memory', files)).map((group) => readLimit(host, group)),
  ])
  const bytes = (name: string) => kilobytes(meminfo, name) * 1024
  const whole = {
    total: bytes('MemTotal') - bytes('Hugetlb'),
    available: bytes('MemAvailable'),
  }
  const bounds = [whole, ...limits.filter((limit) => limit !== undefined)]
  return {
    total: Math.min(...bounds.map(({ total }) => total)),
    available: Math.max(0, Math.min(...bounds.map(({ available }) => available))),
  }
}

/** Undefined where the group limits nothing. */
async function readLimit(host: Host, group: Cgroup): Promise<HostMemory | undefined> {
  const names = NAMES[group.version]
  const read = (kind: string) => readText(host, `${group.folder}/memory.${kind}`).catch(() => '')
  const limits = await Promise.all(names.limits.map(read))
  // `max`, or there is no such file
  const total = Math.min(...limits.map((text) => Number.parseInt(text, 10)).filter(Number.isFinite))
  if (total >= NO_LIMIT) return undefined
  // Without `use_hierarchy` a group's limit is not for the groups below.
  if (group.version === 1 && !group.isOwn && (await read('use_hierarchy')).trim() === '0') return
  const [used = '', stat = ''] = await Promise.all([names.used, 'stat'].map(read))
  const cache = names.cache.exec(stat)?.[1] ?? 0
  return { total, available: total - Number(used) + Number(cache) }
}

/**
 * Names of a group's files (https://docs.kernel.org/admin-guide/cgroup-v1/memory.html and
 * …/cgroup-v2.html, "Memory Interface Files"). Beyond `high` nothing is refused, but all that wants more
 * is slowed down until it stands.
 */
const NAMES = {
  1: {
    limits: ['limit_in_bytes'],
    used: 'usage_in_bytes',
    cache: /^total_inactive_file (\d+)$/m,
  },
  2: { limits: ['max', 'high'], used: 'current', cache: /^inactive_file (\d+)$/m },
}

/**
 * Bytes of ordinary memory that a process has touched and that are not swapped out; 0 where it cannot
 * be seen. Memory that it shares with others counts fully, or not at all where it is a clone's.
 */
export async function touched(host: Host, pid: number, { isClone = false } = {}): Promise<number> {
  const status = await readText(host, `/proc/${pid}/status`).catch(() => '')
  const shared = isClone ? 0 : kilobytes(status, 'RssShmem')
  return (kilobytes(status, 'RssAnon') + shared) * 1024
}

/** Bytes of huge pages that a process has touched; 0 where it cannot be seen. */
export async function touchedPages(host: Host, pid: number): Promise<number> {
  const status = await readText(host, `/proc/${pid}/status`).catch(() => '')
  return kilobytes(status, 'HugetlbPages') * 1024
}

/** A line of /proc/meminfo or /proc/PID/status; 0 where there is none. */
function kilobytes(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0)
}
