import { UsageError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import { readText } from '../../host/read-text.ts'

/** One hardware thread that this process may use. */
export interface Cpu {
  cpu: number
  /** Threads of one physical core have the same. */
  core: string
  node: number
}

export type CoreWish = { count: number; node?: number } | { list: readonly number[] }

export interface ChosenCores {
  /** One for each virtual CPU, in their order. */
  cpus: number[]
  /** Those, and the siblings that are kept free beside them; from the lowest on. */
  reserved: number[]
}

interface Topology {
  cores: ReadonlyMap<number, string>
  nodes: ReadonlyMap<number, number>
}

// One program reads all the files, for a large machine has hundreds. Older kernels call the threads of
// a core thread_siblings_list, and some newer ones have both.
const READ_TOPOLOGY = `
cd -- "$0" && exec grep -sH '' cpu/cpu[0-9]*/topology/core_cpus_list \
  cpu/cpu[0-9]*/topology/thread_siblings_list node/node[0-9]*/cpulist`

// It changes only with the cpus that are online, and whoever waits for cores asks again and again.
const topologies = new WeakMap<Host, { of: string; topology: Promise<Topology> }>()

/**
 * The hardware threads that are online and that this process is allowed to use, from the lowest on.
 *
 * @param system the folder of the kernel's devices
 */
export async function readCpus(host: Host, system = '/sys/devices/system'): Promise<Cpu[]> {
  const [online, status] = await Promise.all([
    readText(host, `${system}/cpu/online`),
    readText(host, '/proc/self/status'),
  ])
  const { cores, nodes } = await topologyOf(host, { online, system })
  const allowed = new Set(parseCpuList(/^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? ''))
  return parseCpuList(online)
    .filter((cpu) => allowed.has(cpu))
    .map((cpu) => ({ cpu, core: cores.get(cpu) ?? String(cpu), node: nodes.get(cpu) ?? 0 }))
}

function topologyOf(
  host: Host,
  { online, system }: { online: string; system: string },
): Promise<Topology> {
  const of = `${system} ${online}`
  const known = topologies.get(host)
  if (known?.of === of) return known.topology
  const topology = readTopology(host, system)
  topologies.set(host, { of, topology })
  topology.catch(() => topologies.delete(host))
  return topology
}

async function readTopology(host: Host, system: string): Promise<Topology> {
  const { stdout } = await host.run('sh', ['-c', READ_TOPOLOGY, system])
  const cores = new Map<number, string>()
  const nodes = new Map<number, number>()
  for (const [, kind, number, list = ''] of stdout.matchAll(/^(cpu|node)\/\D+(\d+)\/.*:(.*)$/gm)) {
    if (kind === 'cpu') cores.set(Number(number), list)
    else for (const cpu of parseCpuList(list)) nodes.set(cpu, Number(number))
  }
  return { cores, nodes }
}

/** The numbers of a list as the kernel writes it: `0-3,8` (cpuset(7), "List format"). */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter((range) => range !== '')
    .flatMap((range) => {
      const [first = 0, last = first] = range.split('-').map(Number)
      return Array.from({ length: last - first + 1 }, (_, i) => first + i)
    })
}

/** Numbers from the lowest on, as the kernel writes them: `0-3,8`. */
export function formatCpuList(cpus: Iterable<number>): string {
  const ranges: [first: number, last: number][] = []
  for (const cpu of [...cpus].sort((a, b) => a - b)) {
    const range = ranges.at(-1)
    if (range !== undefined && cpu <= range[1] + 1) range[1] = cpu
    else ranges.push([cpu, cpu])
  }
  return ranges.map(([first, last]) => (first === last ? first : `${first}-${last}`)).join(',')
}

/**
 * A `count` takes whole free cores of one node, so that nobody else runs on their other threads; the
 * highest first, for cpu 0 has the host's own work. Only where no node is large enough are they of
 * several. A `list` takes exactly those.
 *
 * @param taken those that somebody else has
 * @returns undefined where too few are free now
 * @throws UsageError where the host can never meet the wish
 */
export function chooseCores(
  cpus: readonly Cpu[],
  taken: ReadonlySet<number>,
  wish: CoreWish,
): ChosenCores | undefined {
  if ('list' in wish) {
    checkList(cpus, wish.list)
    if (wish.list.some((cpu) => taken.has(cpu))) return undefined
    return { cpus: [...wish.list], reserved: [...wish.list].sort((a, b) => a - b) }
  }
  const { count } = wish
  const [best] = placesFor(cpus, wish)
    .map((place) => freeCores(place, taken))
    .filter((cores) => cores.flat().length >= count)
    .sort((a, b) => b.length - a.length || highest(b) - highest(a))
  return best && takeHighest(best, count)
}

function checkList(cpus: readonly Cpu[], list: readonly number[]): void {
  const usable = new Set(cpus.map(({ cpu }) => cpu))
  const hint = `there are ${describe(cpus)}`
  const unusable = list.filter((cpu) => !usable.has(cpu))
  if (unusable.length > 0) {
    throw new UsageError(
      `cpu ${formatCpuList(unusable)} does not exist, is offline, or is not allowed to this process`,
      { hint },
    )
  }
  const twice = list.find((cpu, i) => list.indexOf(cpu) < i)
  if (twice !== undefined) throw new UsageError(`cpu ${twice} is named twice`, { hint })
}

/** Where so many may come from: each node that is large enough for all, or else the whole host. */
function placesFor(
  cpus: readonly Cpu[],
  { count, node }: { count: number; node?: number },
): Cpu[][] {
  const places = [...nodesOf(cpus)]
    .filter(([number]) => node === undefined || number === node)
    .map(([, place]) => place)
    .filter((place) => place.length >= count)
  if (places.length > 0) return places
  if (node === undefined && cpus.length >= count) return [[...cpus]]
  const where = node === undefined ? '' : ` on node ${node}`
  const wanted = count === 1 ? `1 cpu${where} is` : `${count} cpus${where} are`
  throw new UsageError(`${wanted} wanted, more than there are`, {
    hint: `there are ${describe(cpus)}`,
  })
}

/** The threads of each core that is wholly free; the core with the highest number first. */
function freeCores(cpus: readonly Cpu[], taken: ReadonlySet<number>): number[][] {
  return [...Map.groupBy(cpus, ({ core }) => core).values()]
    .map((threads) => threads.map(({ cpu }) => cpu).sort((a, b) => a - b))
    .filter((threads) => !threads.some((cpu) => taken.has(cpu)))
    .sort(([a = 0], [b = 0]) => b - a)
}

function takeHighest(cores: readonly number[][], count: number): ChosenCores {
  const chosen: number[][] = []
  for (const threads of cores) {
    if (chosen.flat().length >= count) break
    chosen.unshift(threads)
  }
  const cpus = chosen.flat().slice(0, count)
  // Where cores have different numbers of threads, the last one taken may have made another needless.
  const used = chosen.filter((threads) => threads.some((cpu) => cpus.includes(cpu)))
  return { cpus, reserved: used.flat().sort((a, b) => a - b) }
}

function highest(cores: readonly number[][]): number {
  return cores[0]?.[0] ?? -1
}

function nodesOf(cpus: readonly Cpu[]): Map<number, Cpu[]> {
  return Map.groupBy(cpus, ({ node }) => node)
}

/** E.g. `0-3,8-11 on node 0; 4-7,12-15 on node 1`. */
function describe(cpus: readonly Cpu[]): string {
  const nodes = [...nodesOf(cpus)].map(
    ([node, all]) => `${formatCpuList(all.map(({ cpu }) => cpu))} on node ${node}`,
  )
  return nodes.join('; ') || 'none at all'
}
