import { InfrastructureError, UsageError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'

/** First and last. */
export type PortRange = readonly [first: number, last: number]

/** Below what Linux gives out by itself (net.ipv4.ip_local_port_range begins at 32768). */
export const PORT_RANGE: PortRange = [20_000, 20_999]

/** Where forwarded ports are listened at. */
const ADDRESS = '127.0.0.1'

/**
 * So many ports of a range that nobody in the ledger has and that no program of the host uses, for TCP
 * or UDP, on whatever address of either family.
 *
 * @param leased ports that are promised to others
 * @throws InfrastructureError when too few are free
 */
export async function choosePorts(
  host: Host,
  count: number,
  { range: [first, last], leased }: { range: PortRange; leased: ReadonlySet<number> },
): Promise<number[]> {
  if (count === 0) return []
  const used = await portsInUse(host)
  const size = last - first + 1
  // Not from the first on: a port that was let go of a moment ago may still be asked for by a peer.
  const start = Math.floor(Math.random() * size)
  const chosen: number[] = []
  const refused: number[] = []
  for (let i = 0; i < size && chosen.length < count; i++) {
    const port = first + ((start + i) % size)
    if (leased.has(port)) continue
    if (!used.has(port) && (await canListen(host, port))) chosen.push(port)
    else refused.push(port)
  }
  if (chosen.length === count) return chosen
  const others = [...leased].filter((port) => port >= first && port <= last).length
  const foreign = refused.sort((a, b) => a - b).slice(0, NAMED)
  const which =
    refused.length > 0 ? ` (${foreign.join(', ')}${refused.length > NAMED ? ', …' : ''})` : ''
  throw new InfrastructureError(
    `needs ${count} host port${count === 1 ? '' : 's'} of ${first} to ${last}, ${chosen.length} free: ` +
      `${others} leased to other VMs, ${refused.length} used by other programs${which}`,
    {
      dut: host.name,
      hint:
        'end one (npx vitest-dut ps and ss -tulpn show whose they are), or give the DUT another ' +
        'range with ports: [first, last]',
    },
  )
}

/** How many foreign ports a message names. */
const NAMED = 5

/** @throws UsageError when it is none */
export function checkRange(what: string, range: unknown): PortRange {
  const [first, last, ...more] = Array.isArray(range) ? range : []
  const valid = [first, last].every((port) => Number.isInteger(port) && port > 0 && port < 65_536)
  if (valid && first <= last && more.length === 0) return [first, last]
  throw new UsageError(`${what}: ${JSON.stringify(range)} is not a range of ports`, {
    hint: 'the first and the last port, from 1 to 65535: [20000, 20999]',
  })
}

/** Local ports of all sockets of the host that the kernel lists (proc(5), /proc/net/tcp). */
async function portsInUse(host: Host): Promise<Set<number>> {
  const used = new Set<number>()
  const tables = await Promise.all(
    ['tcp', 'tcp6', 'udp', 'udp6'].map((table) =>
      host.readFile(`/proc/net/${table}`).then(
        (bytes) => Buffer.from(bytes).toString(),
        () => '', // a host without IPv6 has no such table
      ),
    ),
  )
  for (const [, port = ''] of tables.join('\n').matchAll(/^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) /gm)) {
    used.add(Number.parseInt(port, 16))
  }
  return used
}

/** A port that is bound but not listened on is in no table, and QEMU is refused it all the same. */
async function canListen(host: Host, port: number): Promise<boolean> {
  const free = await Promise.all(
    (['tcp', 'udp'] as const).map((protocol) =>
      host.portFree({ port, address: ADDRESS, protocol }),
    ),
  )
  return free.every(Boolean)
}
