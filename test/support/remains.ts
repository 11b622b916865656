import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { localHost } from '../../src/host/local.ts'
import { readPages } from '../../src/lease/resources/pages.ts'
import type { PortRange } from '../../src/lease/resources/ports.ts'

/*
 * What a run can leave behind on a machine, looked at from outside: nothing of it is asked of the
 * product.
 */

export interface Seen {
  pid: number
  parent: number
  /** Its command line. */
  command: string
}

/** The processes that have a text in their command line, or in the environment they were started with. */
export function processesWith(text: string): Seen[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      const command = textOf(`/proc/${name}/cmdline`)
      if (![command, textOf(`/proc/${name}/environ`)].some((all) => all.includes(text))) return []
      const parent = /^PPid:\t(\d+)$/m.exec(textOf(`/proc/${name}/status`))?.[1]
      return [{ pid: Number(name), parent: Number(parent), command: command.replaceAll('\0', ' ') }]
    })
}

/**
 * Whether a process is there and no zombie. One that is just dying has no command line and no
 * environment any more, but may still hold locks.
 */
export function isRunning(pid: number): boolean {
  const stat = textOf(`/proc/${pid}/stat`)
  return stat !== '' && !/^\d+ \(.*\) [ZX]/s.test(stat)
}

/** A process and all that descend from it. */
export function familyOf(pid: number, all: readonly Seen[]): Seen[] {
  const children = all.filter(({ parent }) => parent === pid)
  return [
    ...all.filter((one) => one.pid === pid),
    ...children.flatMap((child) => familyOf(child.pid, all)),
  ]
}

/**
 * Without those that one of them has forked and that are no program of their own yet: they have its
 * command line until then.
 */
export function withoutForks(all: readonly Seen[]): Seen[] {
  return all.filter(({ parent }) => !all.some(({ pid }) => pid === parent))
}

/**
 * What there is of all that outlives processes: pools of huge pages, network interfaces, ports of a
 * range that are taken, files in memory; and what is in the given folders. A line for each.
 */
export async function inventory({
  ports,
  folders = [],
}: {
  ports: PortRange
  folders?: readonly string[]
}): Promise<string[]> {
  const { pools } = await readPages(localHost())
  return [
    ...pools.map(
      ({ size, node, total, free }) => `pages ${size} of node ${node}: ${free}/${total}`,
    ),
    ...readdirSync('/sys/class/net').map((name) => `interface ${name}`),
    ...boundPorts(ports).map((port) => `port ${port}`),
    ...['/dev/shm', ...folders].flatMap((folder) =>
      namesIn(folder).map((name) => join(folder, name)),
    ),
  ]
}

function boundPorts([first, last]: PortRange): number[] {
  const tables = ['tcp', 'tcp6', 'udp', 'udp6'].map((table) => textOf(`/proc/net/${table}`))
  return [...tables.join('\n').matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) /gm)]
    .map(([, port = '']) => Number.parseInt(port, 16))
    .filter((port) => port >= first && port <= last)
}

/** Names of the locks in a folder that somebody holds. */
export async function heldIn(folder: string): Promise<string[]> {
  const names = namesIn(folder)
  const held = await localHost().held(names.map((name) => join(folder, name)))
  return names.filter((_, i) => held[i])
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // it has ended meanwhile
  }
}
