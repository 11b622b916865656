import { InfrastructureError, UsageError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import { type Claim, claim, type Lease } from './lease.ts'

export { LEASE_TAKEN, leaseCommand } from './lease.ts'

export interface PortWish {
  /** `'tcp'` where not given. */
  protocol?: 'tcp' | 'udp'
}

export interface PortLease extends Lease {
  readonly port: number
  readonly protocol: 'tcp' | 'udp'
}

export interface PortOptions {
  host: Host
  /** One for each port; the leases come in the same order. */
  wanted: readonly PortWish[]
  /** The host's address that the program will listen on; `127.0.0.1` where not given. */
  address?: string
  /** First and last port to choose from; 20000 to 20999, below what Linux gives out by itself. */
  range?: readonly [first: number, last: number]
  signal?: AbortSignal
}

const RANGE = [20_000, 20_999] as const

/**
 * Chooses ports of the host that nobody has, and keeps them from everybody else while `fn` runs. In
 * it, start the program through `leaseCommand` and wait for a sign that it runs: from then on its
 * leases are its own, for as long as it lives.
 *
 * @throws InfrastructureError when too few ports are free
 */
export async function withPorts<T>(
  { host, wanted, address = '127.0.0.1', range = RANGE, signal }: PortOptions,
  fn: (leases: PortLease[]) => Promise<T> | T,
): Promise<T> {
  checkRange(range)
  const claims: Claim[] = []
  try {
    const leases: PortLease[] = []
    for (const { protocol = 'tcp' } of wanted) {
      const chosen = await choose({ host, protocol, address, range, signal })
      claims.push(chosen)
      leases.push({ ...chosen.lease, port: chosen.port, protocol })
    }
    return await fn(leases)
  } finally {
    await Promise.all(claims.map((held) => held.release()))
  }
}

interface Choice {
  host: Host
  protocol: 'tcp' | 'udp'
  address: string
  range: readonly [number, number]
  signal?: AbortSignal
}

async function choose({
  host,
  protocol,
  address,
  range: [first, last],
  signal,
}: Choice): Promise<Claim & { port: number }> {
  const count = last - first + 1
  // Not from the first on: those who choose at the same time would all ask for the same ones.
  const start = Math.floor(Math.random() * count)
  let leased = 0
  for (let i = 0; i < count; i++) {
    const port = first + ((start + i) % count)
    const claimed = await claim(host, `port-${protocol}-${port}`, { signal })
    if (claimed === undefined) {
      leased += 1
      continue
    }
    const free = await host.portFree({ port, address, protocol }).catch(async (error) => {
      await claimed.release()
      throw unusable(address, host, error)
    })
    if (free) return { ...claimed, port }
    await claimed.release()
  }
  throw new InfrastructureError(`no ${protocol} port of ${first} to ${last} is free`, {
    dut: host.name,
    hint: `${leased} are leased by other VMs, ${count - leased} are used by other programs: end some, or choose another range`,
  })
}

function unusable(address: string, host: Host, cause: Error): InfrastructureError {
  return new InfrastructureError(`no program can listen on ${address}: ${cause.message}`, {
    dut: host.name,
    cause,
    hint: 'name an address that this host has',
  })
}

function checkRange([first, last]: readonly [number, number]): void {
  const valid = Number.isInteger(first) && Number.isInteger(last) && first > 0 && last < 65_536
  if (!valid || first > last) {
    throw new UsageError(`${first} to ${last} is not a range of ports`, {
      hint: 'the first and the last port, from 1 to 65535',
    })
  }
}
