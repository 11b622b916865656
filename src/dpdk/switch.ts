import { UsageError } from '../errors.ts'
import type { Dut } from '../fleet/dut.ts'
import { checkInteger, checkKeys } from '../options.ts'
import type { Duration } from '../units.ts'
import { testpmd } from './start.ts'
import type { ForwardMode, Testpmd } from './testpmd.ts'

export interface VhostSwitchOptions {
  /** How many guests' NICs it connects. */
  ports: number
  /** Queue pairs of each port, 1 by default. */
  queues?: number
  /** `'io'` (default) hands packets on as they are. */
  mode?: ForwardMode
  /** `'paired'` (default): 0↔1, 2↔3, …; `'chained'`: 0→1→2→…→0; `'loop'`: each back to itself. */
  topology?: 'paired' | 'chained' | 'loop'
  /** The VMs make the sockets, and the switch connects to them, again and again. */
  client?: boolean
  /** Guests may send segments of up to 64 kB and leave checksums to the other end. */
  tso?: boolean
  /** Further vhost options of every port, e.g. `'legacy-ol-flags=1'`. */
  vdevArgs?: string
  /**
   * Niceness of the switch, 0 to 19: how far it stands back behind the guests where cores are few. 5
   * by default; higher ones favour guests that sleep, lower ones guests that poll.
   */
  nice?: number
  /** See `TestpmdOptions`. */
  memory?: number
  mbufs?: number
  hugepages?: boolean
  inMemory?: boolean
  eal?: readonly string[]
  args?: readonly string[]
  program?: string
  timeout?: Duration
}

/** What `vhostUser` needs of a port: `vhostUser(sw.port(0))`. */
export interface VhostPort {
  path: string
  queues: number
  server: boolean
}

export interface VhostSwitch extends AsyncDisposable {
  /** The host's testpmd, for its counters. */
  readonly testpmd: Testpmd
  /** Sockets, by port. */
  readonly paths: readonly string[]
  /** @throws UsageError where there is no such port */
  port(index: number): VhostPort
  /** The port's socket. @throws UsageError where there is no such port */
  path(index: number): string
  close(): Promise<void>
}

const KEYS = [
  ...[
    'ports',
    'queues',
    'mode',
    'topology',
    'client',
    'tso',
    'vdevArgs',
    'nice',
    'memory',
    'mbufs',
  ],
  ...['hugepages', 'inMemory', 'eal', 'args', 'program', 'timeout'],
]

/**
 * A vhost-user switch on a DUT: a testpmd that forwards between its ports on one polling core, which
 * it keeps busy for as long as it lives. When the call resolves, its sockets are there and packets
 * pass. It ends with the test that started it, or else with the suite; where `dutTest`'s `backend`
 * starts it, the waits on its VMs are rejected when it dies.
 *
 * @throws InfrastructureError with testpmd's own lines when it does not start
 * @throws UsageError for an unknown option or a bad value
 */
export async function vhostSwitch(dut: Dut, options: VhostSwitchOptions): Promise<VhostSwitch> {
  checkKeys('vhostSwitch', options, KEYS)
  const { mode = 'io', topology = 'paired', client = false, tso = false, vdevArgs } = options
  const ports = checkInteger('vhostSwitch: ports', options.ports, 1, 32)
  const queues = checkInteger('vhostSwitch: queues', options.queues ?? 1, 1, 16)
  if (!['paired', 'chained', 'loop'].includes(topology)) {
    throw new UsageError(`vhostSwitch: topology: ${JSON.stringify(topology)} is unknown`, {
      hint: `'paired', 'chained' or 'loop'`,
    })
  }
  if (topology === 'paired' && ports % 2 === 1 && ports > 1) {
    throw new UsageError(`vhostSwitch: ${ports} ports do not pair up`, {
      hint: `an even number of ports, or topology: 'chained'`,
    })
  }
  const id = crypto.randomUUID().slice(0, 6)
  const paths = Array.from({ length: ports }, (_, i) => `${dut.dir}/vhost-${id}-${i}`)
  const { nice = 5, memory, mbufs = 4096 + 1024 * ports * queues, args = [] } = options
  const { hugepages = false, inMemory = true, eal, program, timeout } = options
  const pmd = await testpmd(dut, {
    vdevs: paths.map((path, i) =>
      [
        ...[`net_vhost${i}`, `iface=${path}`, `queues=${queues}`],
        ...(client ? ['client=1'] : []),
        // Without both, packets of 64 kB that one guest sends do not fit into the other's buffers.
        ...(tso ? ['tso=1', 'linear-buffer=0'] : []),
        ...(vdevArgs === undefined ? [] : [vdevArgs]),
      ].join(','),
    ),
    ...{ mbufs, timeout, nice, hugepages, inMemory, eal, program },
    memory: memory ?? 64 + Math.ceil(mbufs / 256),
    filePrefix: `vhost-${id}`,
    args: [`--port-topology=${topology}`, `--rxq=${queues}`, `--txq=${queues}`, ...args],
  })
  try {
    await pmd.start(mode)
  } catch (error) {
    await pmd.close()
    throw error
  }
  const path = (index: number) => {
    const found = paths[index]
    if (found !== undefined) return found
    throw new UsageError(`vhostSwitch: there is no port ${index}`, {
      hint: `it has ports 0 to ${ports - 1}`,
    })
  }
  const close = () => pmd.close()
  return {
    ...{ testpmd: pmd, paths, path, close, [Symbol.asyncDispose]: close },
    port: (index) => ({ path: path(index), queues, server: client }),
  }
}
