import { posix } from 'node:path'
import type { Host } from '../host/host.ts'
import { readText } from './read-text.ts'

/** Ordinary memory, without huge pages. */
export interface HostMemory {
  /** Bytes. */
  total: number
  /** Bytes that programs can still have without any being swapped out. */
  available: number
}

/** Where the kernel says it; others only in tests. */
export interface MemoryFiles {
  meminfo: string
  /** Of this process: cgroups(7), "/proc files". */
  cgroup: string
  /** Where version 2 of the control groups is mounted. */
  cgroups: string
}

const FILES: MemoryFiles = {
  meminfo: '/proc/meminfo',
  cgroup: '/proc/self/cgroup',
  cgroups: '/sys/fs/cgroup',
}

/**
 * The memory that programs of this process may use: the host's, less where a control group limits it,
 * as in a container (https://docs.kernel.org/admin-guide/cgroup-v2.html, "Memory Interface Files").
 */
export async function readMemory(host: Host, files: MemoryFiles = FILES): Promise<HostMemory> {
  const [meminfo, ...limits] = await Promise.all([
    readText(host, files.meminfo),
    ...(await groupsOf(host, files)).map((folder) => readLimit(host, folder)),
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

/** The folders of the control group that this process is in and of all above it. */
async function groupsOf(host: Host, { cgroup, cgroups }: MemoryFiles): Promise<string[]> {
  const text = await readText(host, cgroup).catch(() => '')
  const path = /^0::(\/.*)$/m.exec(text)?.[1]
  if (path === undefined) return []
  const folders: string[] = []
  // Outside of what a container sees, the path begins with `/..`, which leads back to the root.
  for (let at = posix.resolve('/', path); ; at = posix.dirname(at)) {
    folders.push(posix.join(cgroups, at))
    if (at === '/') return folders
  }
}

async function readLimit(host: Host, folder: string): Promise<HostMemory | undefined> {
  const read = (kind: string) => readText(host, `${folder}/memory.${kind}`).catch(() => '')
  const total = Number.parseInt(await read('max'), 10)
  if (Number.isNaN(total)) return undefined // `max`, or there is no such file
  const [current, stat] = await Promise.all([read('current'), read('stat')])
  const cache = Number(/^inactive_file (\d+)$/m.exec(stat)?.[1] ?? 0)
  return { total, available: total - Number(current) + cache }
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
