import { posix } from 'node:path'
import type { Host } from './host.ts'
import { readText } from './read-text.ts'

/** The kernel's files about the control groups of this process; other files only in tests. */
export interface CgroupFiles {
  /** cgroups(7), "/proc files". */
  cgroup: string
  /** proc_pid_mountinfo(5). */
  mountinfo: string
}

export const CGROUP_FILES: CgroupFiles = {
  cgroup: '/proc/self/cgroup',
  mountinfo: '/proc/self/mountinfo',
}

/** Bytes that stand for "no limit": version 1 has a number for it that is almost 2^63. */
export const NO_LIMIT = 2 ** 62

export interface Cgroup {
  version: 1 | 2
  /** Folder of its files. */
  folder: string
  /** The group is the one that this process is in, not one above. */
  isOwn: boolean
}

/** Found once, for the groups of this process hardly ever change, and each VM's start asks for them. */
const found = new WeakMap<Host, Map<string, Promise<Cgroup[]>>>()

/**
 * The control groups that a controller limits this process by: its own first, then those above, as far
 * as they can be seen. A controller is of version 1 or of 2 (cgroups(7)).
 */
export function cgroupsOf(
  host: Host,
  controller: string,
  files: CgroupFiles = CGROUP_FILES,
): Promise<Cgroup[]> {
  return once(found, host, [controller, files.cgroup, files.mountinfo].join(' '), () =>
    findCgroups(host, controller, files),
  )
}

/** The same, of any process, as it is now. */
export async function findCgroups(
  host: Host,
  controller: string,
  { cgroup, mountinfo }: CgroupFiles,
): Promise<Cgroup[]> {
  const [places, mounts] = await Promise.all([
    readText(host, cgroup).catch(() => ''),
    once(mounted, host, [controller, mountinfo].join(' '), () =>
      findMounts(host, controller, mountinfo),
    ),
  ])
  const path = (version: 1 | 2) => {
    for (const [, of = '', at = ''] of places.matchAll(/^\d+:([^:]*):(\/.*)$/gm)) {
      if (version === 2 ? of === '' : of.split(',').includes(controller)) return at
    }
    return undefined
  }
  return mounts.flatMap(({ version, ...mount }) => {
    const at = path(version)
    if (at === undefined) return []
    return foldersOf(mount, at).map((folder, i) => ({ version, folder, isOwn: i === 0 }))
  })
}

interface Mount {
  version: 1 | 2
  /** The group whose folder is at the mount point. */
  root: string
  point: string
}

/** Found once: a controller stays where it is for as long as it is used. */
const mounted = new WeakMap<Host, Map<string, Promise<Mount[]>>>()

async function findMounts(host: Host, controller: string, mountinfo: string): Promise<Mount[]> {
  const lines = await readText(host, mountinfo).catch(() => '')
  const one = mountOf(lines, 1, controller)
  const two = mountOf(lines, 2, controller)
  return [
    ...(one ? [one] : []),
    ...(two && (await hasController(host, two, controller)) ? [two] : []),
  ]
}

/** Tells whether a mount of version 2 has a controller, which may be one of version 1. */
async function hasController(host: Host, { point }: Mount, controller: string): Promise<boolean> {
  const controllers = await readText(host, posix.join(point, 'cgroup.controllers')).catch(
    () => undefined,
  )
  return controllers === undefined || controllers.trim().split(' ').includes(controller)
}

function once<T>(
  known: WeakMap<Host, Map<string, Promise<T>>>,
  host: Host,
  key: string,
  find: () => Promise<T>,
): Promise<T> {
  const ofHost = known.get(host) ?? new Map<string, Promise<T>>()
  known.set(host, ofHost)
  const value = ofHost.get(key) ?? find()
  ofHost.set(key, value)
  return value
}

/** E.g. `31 25 0:27 /docker/1f /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory`. */
function mountOf(mounts: string, version: 1 | 2, controller: string): Mount | undefined {
  for (const line of mounts.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    const [type, , options = ''] = after.split(' ')
    const isIt =
      version === 2
        ? type === 'cgroup2'
        : type === 'cgroup' && options.split(',').includes(controller)
    const [, , , root = '/', point = '/'] = before.split(' ').map(unescaped)
    if (isIt) return { version, root, point }
  }
  return undefined
}

/** A blank, tab, line feed or backslash of a path is written as `\040` and so on. */
function unescaped(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  )
}

function foldersOf({ root, point }: Omit<Mount, 'version'>, path: string): string[] {
  // Outside of what a container sees, the path begins with `/..`, which leads back to the root; or it is
  // the host's, and what is mounted is the container's own group.
  const inside = posix.relative(posix.resolve('/', root), posix.resolve('/', path))
  const folders: string[] = []
  for (let at = inside.startsWith('..') ? '/' : `/${inside}`; ; at = posix.dirname(at)) {
    folders.push(posix.join(point, at))
    if (at === '/') return folders
  }
}
