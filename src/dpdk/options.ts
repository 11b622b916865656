import { UsageError } from '../errors.ts'
import { LONGEST_SOCKET_PATH } from '../host/host.ts'
import { checkInteger, checkKeys } from '../options.ts'
import type { Duration } from '../units.ts'
import { type NicFacts, sizesFor } from './memory.ts'

export interface TestpmdOptions {
  /**
   * PCI addresses of the NICs to use, or `'bound'`: all that a userspace driver holds. In a VM
   * `'bound'` where no `vdevs` are given, else none.
   */
  ports?: 'bound' | readonly string[]
  /** Software devices, e.g. `['net_vhost0,iface=/run/x/s0', 'net_null0']`. */
  vdevs?: readonly string[]
  /** How many cores forward, 1 by default; one more thread reads the prompt. None is pinned. */
  cores?: number
  /** EAL's `--lcores`, for those who pin, e.g. `'0@0,1@1'`; `cores` says how many forward. */
  lcores?: string
  /** MiB; 64 by default in a VM and in huge pages, else 128; more where the buffers need it. */
  memory?: number
  /**
   * `'auto'` (default): exactly where NICs are used, because a NIC needs them and a software device
   * does not. A VM is given the missing pages; on a DUT `reserveHugepages` has to be called before.
   */
  hugepages?: boolean | 'auto'
  /**
   * EAL's `--in-memory`, where it uses huge pages: nothing is in the file system, and no other DPDK
   * program can join it. True by default; false where a `filePrefix` is given, or an option in `eal` that
   * does not go with it. What is in the huge pages' file system then is removed at its end.
   */
  inMemory?: boolean
  /**
   * Packet buffers in all; by default as many as the queues can hold, of `args` (`--rxq`, `--rxd`, …) and
   * all NICs, and 2048 more.
   */
  mbufs?: number
  /** Name that EAL's files share, for programs that join it; a unique one by default. */
  filePrefix?: string
  /** Niceness from 0 (default) to 19: how far it stands back behind other programs. */
  nice?: number
  /** Further arguments for EAL, before the `--`. */
  eal?: readonly string[]
  /** Further arguments for testpmd, behind the `--`. */
  args?: readonly string[]
  /** The program; `dpdk-testpmd` by default. */
  program?: string
  /** Until the first prompt; 30 s by default. */
  timeout?: Duration
}

const KEYS = [
  ...['ports', 'vdevs', 'cores', 'lcores', 'memory', 'hugepages', 'mbufs', 'filePrefix', 'nice'],
  ...['inMemory', 'eal', 'args', 'program', 'timeout'],
]

export type ResolvedTestpmd = Required<
  Omit<TestpmdOptions, 'lcores' | 'hugepages' | 'memory' | 'mbufs'>
> & {
  lcores?: string
  hugepages: boolean
  memory?: number
  mbufs?: number
  /** MiB where `memory` does not say. */
  leastMemory: number
}

const PCI_ADDRESS = /^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/i

/** @throws UsageError naming the option and what to write instead */
export function resolveTestpmd(options: TestpmdOptions, where: 'vm' | 'dut'): ResolvedTestpmd {
  checkKeys('testpmd', options, KEYS)
  const { vdevs = [], eal = [], args = [], hugepages = 'auto', lcores } = options
  for (const [key, list] of Object.entries({ vdevs, eal, args })) {
    if (!Array.isArray(list) || list.some((item) => typeof item !== 'string' || item === '')) {
      throw new UsageError(`testpmd: ${key} is not a list of strings`)
    }
  }
  checkSockets(vdevs)
  const { ports = where === 'vm' && vdevs.length === 0 ? 'bound' : [] } = options
  checkPorts(ports)
  if (ports.length === 0 && vdevs.length === 0 && eal.length === 0) {
    throw new UsageError('testpmd: it is given no port', {
      hint: `vdevs: ['net_null0'], or ports: ['0000:03:00.0']`,
    })
  }
  if (![true, false, 'auto'].includes(hugepages)) {
    throw new UsageError(`testpmd: hugepages: ${JSON.stringify(hugepages)} is unknown`, {
      hint: `true, false or 'auto'`,
    })
  }
  const { inMemory = true, memory, mbufs } = options
  if (typeof inMemory !== 'boolean') {
    throw new UsageError(`testpmd: inMemory: ${JSON.stringify(inMemory)} is neither true nor false`)
  }
  const inHugepages = hugepages === 'auto' ? ports.length > 0 : hugepages
  const { filePrefix = `dut-${crypto.randomUUID().slice(0, 8)}`, program = 'dpdk-testpmd' } =
    options
  if (!/^[\w-]{1,32}$/.test(filePrefix)) {
    throw new UsageError(`testpmd: filePrefix: ${JSON.stringify(filePrefix)} cannot be used`, {
      hint: 'up to 32 letters, digits, dashes and underscores',
    })
  }
  return {
    ...{ ports, vdevs, eal, args, filePrefix, program, hugepages: inHugepages, inMemory },
    ...(lcores === undefined ? {} : { lcores }),
    cores: checkInteger('testpmd: cores', options.cores ?? 1, 1, 127),
    ...(memory !== undefined && { memory: checkInteger('testpmd: memory', memory, 16, 1 << 20) }),
    ...(mbufs !== undefined && { mbufs: checkInteger('testpmd: mbufs', mbufs, 1024, 1 << 24) }),
    leastMemory: inHugepages || where === 'vm' ? 64 : 128,
    nice: checkInteger('testpmd: nice', options.nice ?? 0, 0, 19),
    timeout: options.timeout ?? '30s',
  }
}

/** Options of EAL that do not go with `--in-memory`, or that say where files are. */
const WITH_FILES = /^--(legacy-mem|huge-dir|huge-unlink|proc-type)(=|$)/

/** Decides whether testpmd has files that other programs find, where `inMemory` does not say. */
export function hasFiles({ filePrefix, eal }: TestpmdOptions): boolean {
  return filePrefix !== undefined || (Array.isArray(eal) && eal.some((arg) => WITH_FILES.test(arg)))
}

function checkPorts(ports: 'bound' | readonly string[]): void {
  const wrong =
    ports !== 'bound' &&
    (!Array.isArray(ports) ||
      ports.some((pci) => typeof pci !== 'string' || !PCI_ADDRESS.test(pci)))
  if (!wrong) return
  throw new UsageError(`testpmd: ports: ${JSON.stringify(ports)} are not PCI addresses`, {
    hint: `ports: ['0000:00:03.0'], or 'bound' for all that are bound to a userspace driver`,
  })
}

/** DPDK cuts a path that is too long, and makes its socket there. */
function checkSockets(vdevs: readonly string[]): void {
  for (const vdev of vdevs) {
    for (const [, key, path = ''] of vdev.matchAll(/,(iface|path|socket)=([^,]*)/g)) {
      const { length } = Buffer.from(path)
      if (length <= LONGEST_SOCKET_PATH) continue
      throw new UsageError(`testpmd: vdevs: ${key} has ${length} bytes: ${path}`, {
        hint: `a unix socket's path has at most ${LONGEST_SOCKET_PATH}; dut.dir is a short folder`,
      })
    }
  }
}

/**
 * Each terminal is a session, and so a scheduling group of its own where the kernel has autogroup
 * (sched(7)): there niceness counts between groups only when the group itself has it.
 */
const STAND_BACK = '{ echo $0 >/proc/self/autogroup; } 2>/dev/null; exec nice -n $0 "$@"'

/**
 * The program and its arguments.
 *
 * @param cpus the CPUs that it may use, as `Cpus_allowed_list` of proc(5) has them, e.g. `0-3,8`
 */
export function testpmdCommand(
  { ports, vdevs, cores, lcores, hugepages, ...options }: ResolvedTestpmd,
  cpus: string,
  nics: NicFacts = { count: ports === 'bound' ? 1 : ports.length },
): string[] {
  const { mbufs, memory } = sizesFor({ vdevs, ...options }, nics)
  // Each thread may run on any CPU: pinned to one that a guest or another program keeps busy, a
  // thread that polls would wait for it while others are free.
  const anywhere = Array.from({ length: cores + 1 }, (_, i) => `${i}@(${cpus})`).join(',')
  const { nice, program, filePrefix, eal, args, inMemory } = options
  return [
    ...(nice > 0 ? ['bash', '-c', STAND_BACK, String(nice)] : []),
    program,
    ...['--lcores', lcores ?? anywhere, '--no-telemetry', `--file-prefix=${filePrefix}`],
    ...(!hugepages ? ['--no-huge', '-m', String(memory), '--no-shconf'] : []),
    ...(hugepages && inMemory ? ['--in-memory'] : []),
    ...(ports === 'bound'
      ? []
      : ports.length === 0
        ? ['--no-pci']
        : ports.flatMap((p) => ['-a', p])),
    ...vdevs.flatMap((vdev) => ['--vdev', vdev]),
    ...eal,
    ...['--', '-i', `--nb-cores=${cores}`, `--total-num-mbufs=${mbufs}`],
    // With its memory locked, so is that of each guest which a vhost port maps: all of it, at once.
    ...['--no-mlockall', ...args],
  ]
}
