import { GuestError } from '../errors.ts'

/** Counters of a port, as `show port stats` has them. Plain numbers: exact up to 2^53. */
export interface PortStats {
  port: number
  rxPackets: number
  /** Packets that came while the receive queue was full. */
  rxMissed: number
  rxBytes: number
  rxErrors: number
  /** Packets lost because no buffer was free. */
  rxNombuf: number
  txPackets: number
  txErrors: number
  txBytes: number
  /** Rates since the port's statistics were last asked for; 0 the first time. */
  rxPps: number
  rxBps: number
  txPps: number
  txBps: number
}

export interface ForwardCounters {
  rxPackets: number
  rxDropped: number
  /** `rxPackets` and `rxDropped` together; likewise `txTotal`. */
  rxTotal: number
  txPackets: number
  /** What forwarding had to give up because the port did not take it. */
  txDropped: number
  txTotal: number
}

/** What testpmd counted between `start` and `stop`, for each port that took part, and in all. */
export interface ForwardStats {
  ports: (ForwardCounters & { port: number })[]
  total: ForwardCounters
}

export interface PortInfo {
  port: number
  mac: string
  /** E.g. `'0000:00:03.0'` or `'net_vhost0'`. */
  device: string
  /** E.g. `'net_virtio'`. */
  driver: string
  link: 'up' | 'down'
  /** As testpmd writes it, e.g. `'10 Gbps'`. */
  speed: string
  mtu: number
  promiscuous: boolean
  rxQueues: number
  txQueues: number
}

const FORWARD_KEYS = [
  ...['rxPackets', 'rxDropped', 'rxTotal', 'txPackets', 'txDropped', 'txTotal'],
] as (keyof ForwardCounters)[]
const PORT_KEYS = [
  ...['rxPackets', 'rxMissed', 'rxBytes', 'rxErrors', 'rxNombuf', 'txPackets', 'txErrors'],
  ...['txBytes', 'rxPps', 'rxBps', 'txPps', 'txBps'],
] as Exclude<keyof PortStats, 'port'>[]

/** The answer to `show port stats`, for one port or for all. */
export function parsePortStats(text: string): PortStats[] {
  return sections(text, /NIC statistics for port (\d+)/).map(({ port, body }) => ({
    port,
    ...counters(body, PORT_KEYS),
  }))
}

/** The answer to `stop` or `show fwd stats all`. */
export function parseForwardStats(text: string): ForwardStats {
  const [ports = '', total] = text.split(/^.*Accumulated forward statistics.*$/m)
  if (total === undefined) throw notUnderstood('Accumulated forward statistics', text)
  return {
    ports: sections(ports, /Forward statistics for port (\d+)/).map(({ port, body }) => ({
      port,
      ...counters(body, FORWARD_KEYS),
    })),
    total: counters(total, FORWARD_KEYS),
  }
}

/** The answer to `show port info`, for one port. */
export function parsePortInfo(text: string): PortInfo {
  const [{ port, body } = { port: -1, body: '' }] = sections(text, /Infos for port (\d+)/)
  const field = (name: string) => {
    const value = new RegExp(`^${name}: (.*)$`, 'm').exec(body)?.[1]
    if (value === undefined) throw notUnderstood(name, text)
    return value.trim()
  }
  return {
    port,
    mac: field('MAC address').toLowerCase(),
    device: field('Device name'),
    driver: field('Driver name'),
    link: field('Link status') === 'up' ? 'up' : 'down',
    speed: field('Link speed'),
    mtu: Number(field('MTU')),
    promiscuous: field('Promiscuous mode') === 'enabled',
    rxQueues: Number(field('Current number of RX queues')),
    txQueues: Number(field('Current number of TX queues')),
  }
}

/** One counter of the answer to `show port xstats`, which has none for a vhost port without a guest. */
export function parseXstat(text: string, name: string): number | undefined {
  const value = new RegExp(`^${name}: (\\d+)$`, 'm').exec(text)?.[1]
  return value === undefined ? undefined : Number(value)
}

/** The text behind each heading, up to the next one; the heading's group is the port's number. */
function sections(text: string, heading: RegExp): { port: number; body: string }[] {
  const [, ...parts] = text.split(heading)
  const found: { port: number; body: string }[] = []
  for (let i = 0; i + 1 < parts.length; i += 2) {
    found.push({ port: Number(parts[i]), body: parts[i + 1] ?? '' })
  }
  return found
}

/** `RX-packets: 40   Rx-pps: 7` as `{ rxPackets: 40, rxPps: 7 }`; all `keys` must be there. */
function counters<K extends string>(text: string, keys: readonly K[]): Record<K, number> {
  const found = new Map<string, number>()
  for (const [, way = '', what = '', value] of text.matchAll(/\b([RT][Xx])-(\w+):\s+(\d+)/g)) {
    const key = `${way.toLowerCase()}${what[0]?.toUpperCase()}${what.slice(1)}`
    if (!found.has(key)) found.set(key, Number(value))
  }
  const missing = keys.find((key) => !found.has(key))
  if (missing !== undefined) throw notUnderstood(missing, text)
  return Object.fromEntries(keys.map((key) => [key, found.get(key)])) as Record<K, number>
}

function notUnderstood(what: string, text: string): GuestError {
  return new GuestError(`testpmd's answer was not understood: it has no ${what}`, {
    tail: text,
    hint: 'this was tried with DPDK 22.11 and 24.11; cmd() gives the text as it is',
  })
}
