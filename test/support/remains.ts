import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { localHost } from '../../src/host/local.ts'
import { readPages } from '../../src/lease/resources/pages.ts'
import type { PortRange } from '../../src/lease/resources/ports.ts'
import { namesIn, textOf } from './procfs.ts'

/*
 * What a run can leave behind on a machine, looked at from outside: nothing of it is asked of the
 * product.
 */

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
