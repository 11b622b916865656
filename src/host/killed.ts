import { CGROUP_FILES, findCgroups } from './cgroups.ts'
import type { Exit, Host } from './host.ts'
import { readText } from './read-text.ts'
import { isFull } from './room.ts'

/** A control group's own counter of processes that were killed for want of memory, by version. */
const COUNTERS = { 1: 'memory.oom_control', 2: 'memory.events' }
const VMSTAT = '/proc/vmstat'

/** Mapped memory of a process that can run out while it lives. */
export interface Mapped {
  /** A folder whose file system has a page for each that the process writes. */
  folder?: string
  /** Has pages of the host's pool of huge pages. */
  hugepages?: boolean
}

/** Says why a signal ended a process, as one sentence; undefined where nothing is known. */
export type Explain = (exit: Exit) => Promise<string | undefined>

/** Takes down what is needed to say later why a signal ended a process that has just been started. */
export function watchKills(host: Host, pid: number, mapped: Mapped = {}): Explain {
  const before = counters(host, pid)
  return async ({ signal }) => {
    const counts = await before
    if (signal === 'SIGKILL') return whyKilled(host, pid, counts)
    if (signal === 'SIGBUS') return whyNoPage(host, mapped)
    if (signal === 'SIGSEGV') {
      const line = await kernelLine(host, `[${pid}]: segfault`)
      const said = line === undefined ? '' : `, as the host's kernel says: ${line}`
      return `it read or wrote where it may not, which is a fault of the program${said}`
    }
    return undefined
  }
}

/** How many processes were killed for want of memory so far, by the file that counts them. */
async function counters(host: Host, pid: number): Promise<Map<string, number>> {
  const files = { ...CGROUP_FILES, cgroup: `/proc/${pid}/cgroup` }
  const groups = await findCgroups(host, 'memory', files)
  const own = groups.filter(({ isOwn }) => isOwn)
  const paths = [...own.map(({ version, folder }) => `${folder}/${COUNTERS[version]}`), VMSTAT]
  const counts = await Promise.all(paths.map((path) => countOf(host, path)))
  return new Map(paths.flatMap((path, i) => (counts[i] === undefined ? [] : [[path, counts[i]]])))
}

async function whyKilled(
  host: Host,
  pid: number,
  before: ReadonlyMap<string, number>,
): Promise<string | undefined> {
  const grown: string[] = []
  for (const [file, count] of before) {
    if (((await countOf(host, file)) ?? 0) > count) grown.push(file)
  }
  if (grown.length === 0) return undefined
  const line = await kernelLine(host, `Killed process ${pid} `)
  const group = grown.find((file) => file !== VMSTAT)
  const folder = group?.slice(0, group.lastIndexOf('/'))
  const room = `give the VMs less memory, or start fewer at a time`
  if (folder !== undefined) {
    return `the host's kernel killed it for want of memory: its control group ${folder} is at its limit; ${room}`
  }
  if (line !== undefined) return `the host's kernel killed it for want of memory: ${line}; ${room}`
  return `the host's kernel has killed processes for want of memory meanwhile, this one most likely (dmesg shows it); ${room}`
}

async function whyNoPage(host: Host, { folder, hugepages }: Mapped): Promise<string> {
  const cannot = 'a page of its memory could not be had'
  if (hugepages)
    return `${cannot}: the host's pool of huge pages is used up (HugePages_Free in /proc/meminfo)`
  if (folder === undefined) return `${cannot}: the memory of the host has an error (dmesg shows it)`
  return (await isFull(host, folder))
    ? `${cannot}: the file system of ${folder} is full; make room there, or start fewer VMs at a time`
    : `${cannot}: has something cut its memory file short, or filled the file system of ${folder} for a moment?`
}

/** The last line of the host's kernel that has those words; undefined also where it may not be read. */
async function kernelLine(host: Host, words: string): Promise<string | undefined> {
  const { stdout } = await host.run('dmesg', []).catch(() => ({ stdout: '' }))
  const line = stdout.split('\n').findLast((one) => one.includes(words))
  return line?.replace(/^\[.*?\] */, '')
}

async function countOf(host: Host, file: string): Promise<number | undefined> {
  const found = /^oom_kill (\d+)$/m.exec(await readText(host, file).catch(() => ''))?.[1]
  return found === undefined ? undefined : Number(found)
}
