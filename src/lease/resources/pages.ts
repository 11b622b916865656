import { InfrastructureError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import { readText } from '../../host/read-text.ts'
import { type PageLimit, readPageLimit } from './page-limits.ts'

export type PageSize = '2M' | '1G'

/** Huge pages of one size on one NUMA node. */
export interface PagePool {
  size: PageSize
  node: number
  /** Without surplus pages, which are there only until the program that has them ends. */
  total: number
  free: number
}

export interface Pages {
  pools: PagePool[]
  /** Reserved by programs that have not touched them yet; of the whole host. */
  reserved: Record<PageSize, number>
  /** What `hugepages: true` means, of /proc/meminfo. */
  defaultSize: PageSize | undefined
  /** Limits of the control groups of this process, where they have any. */
  limits?: Partial<Record<PageSize, PageLimit>>
}

/** A page's size in the kernel's words. */
const KILOBYTES: Record<PageSize, number> = { '2M': 2048, '1G': 1_048_576 }
const SIZES = Object.keys(KILOBYTES) as PageSize[]

/** Exit status of the shell when the pool cannot be written. */
const FORBIDDEN = 77

/**
 * The huge pages of a host (https://docs.kernel.org/admin-guide/mm/hugetlbpage.html), those of node 0
 * where it does not know of nodes. It starts no program.
 *
 * @param sys where sysfs(5) is mounted
 */
export async function readPages(host: Host, sys = '/sys'): Promise<Pages> {
  const reserved = (size: PageSize) => count(host, `${poolFolder(size, { sys })}/resv_hugepages`)
  const limit = (size: PageSize) =>
    readPageLimit(host, { size: `${size}B`, bytes: KILOBYTES[size] * 1024 })
  const [pools, meminfo, small = 0, large = 0, ofSmall, ofLarge] = await Promise.all([
    readPools(host, sys),
    readText(host, '/proc/meminfo'),
    ...([reserved('2M'), reserved('1G')] as const),
    ...([limit('2M'), limit('1G')] as const),
  ])
  const kilobytes = /^Hugepagesize:\s*(\d+) kB$/m.exec(meminfo)?.[1]
  return {
    pools,
    reserved: { '2M': small, '1G': large },
    defaultSize: SIZES.find((size) => KILOBYTES[size] === Number(kilobytes)),
    ...((ofSmall ?? ofLarge) && { limits: { '2M': ofSmall, '1G': ofLarge } }),
  }
}

async function readPools(host: Host, sys: string): Promise<PagePool[]> {
  const nodes = await readNodes(host, sys)
  const pools = await Promise.all(
    (nodes.length > 0 ? nodes : [undefined]).flatMap((node) =>
      SIZES.map(async (size) => {
        const folder = poolFolder(size, { sys, node })
        const [all, surplus, free] = await Promise.all(
          ['nr', 'surplus', 'free'].map((kind) => count(host, `${folder}/${kind}_hugepages`)),
        )
        if (all === undefined || free === undefined) return []
        return [{ size, node: node ?? 0, total: all - (surplus ?? 0), free }]
      }),
    ),
  )
  return pools.flat()
}

async function readNodes(host: Host, sys: string): Promise<number[]> {
  const names = await host.listDir(`${sys}/devices/system/node`)
  const nodes = names.flatMap((name) => /^node(\d+)$/.exec(name)?.[1] ?? [])
  return nodes.map(Number).sort((a, b) => a - b)
}

/** Undefined where there is no such file: the host has no pages of the size, or none on the node. */
function count(host: Host, path: string): Promise<number | undefined> {
  return readText(host, path).then(Number, () => undefined)
}

/** The kernel's folder of the pages of one size, of a node or else of the whole host. */
export function poolFolder(
  size: PageSize,
  { node, sys = '/sys' }: { node?: number; sys?: string } = {},
): string {
  const where = node === undefined ? 'kernel/mm' : `devices/system/node/node${node}`
  return `${sys}/${where}/hugepages/hugepages-${KILOBYTES[size]}kB`
}

/**
 * Adds pages to a pool, all or none, or takes them away; nobody else who asks this way does so at the
 * same time, and whoever does keeps theirs. Pages in use stay until their program ends.
 *
 * @param by negative to take away
 * @throws InfrastructureError when the kernel gave fewer, or this user may not
 */
export async function changePages(
  host: Host,
  { size, node }: { size: PageSize; node: number },
  by: number,
): Promise<void> {
  const nodes = await readNodes(host, '/sys')
  const folder = poolFolder(size, nodes.length > 0 ? { node } : {})
  const script = `${pageChanger(folder)}
[ -w nr_hugepages ] || exit ${FORBIDDEN}
change ${by}
echo "$given $available"`
  const { exitCode, stdout, stderr } = await host.run('sh', ['-c', script], { leash: true })
  const what = `${Math.abs(by)} huge pages of ${size} on node ${node}`
  if (exitCode === FORBIDDEN) {
    throw new InfrastructureError(`${what} cannot be ${by < 0 ? 'given back' : 'added'}`, {
      dut: host.name,
      hint: `only root can change how many there are: ${folder}/nr_hugepages`,
    })
  }
  const [given = 0, available = 0] = stdout.split(' ').map(Number)
  if (exitCode === 0 && given >= by) return
  const megabytes = Math.floor(available / 1024)
  throw new InfrastructureError(`${what} were wanted, the kernel gave ${given}`, {
    dut: host.name,
    ...(stderr !== '' && { tail: stderr }),
    hint:
      exitCode === 0
        ? `${megabytes}M of memory were available: ask for fewer, add memory, or reserve them at ` +
          'boot, before memory is in pieces'
        : 'is there such a size, and such a node? See /sys/devices/system/node',
  })
}

/**
 * Shell text (POSIX) that goes to a pool's folder and defines `change N`, which adds N pages, all or
 * none, or takes -N away. It sets `before`, `total`, `given` (how many the kernel gave, also where they
 * were too few and it has them back) and `available` (memory in kilobytes).
 *
 * The lock is flock(2) on the folder itself, for it works in sysfs too. More pages than there is
 * memory for are not even tried: that would take all of it for a moment. Surplus pages are not counted,
 * because to the kernel the number that is written is without them.
 */
export function pageChanger(folder: string): string {
  return `
cd ${folder} || exit
count() {
  read -r total <nr_hugepages
  read -r surplus <surplus_hugepages
  total=$((total - surplus))
}
change() {
  exec 9<. && flock 9
  while read -r name available _; do [ "$name" = MemAvailable: ] && break; done </proc/meminfo
  kilobytes=\${PWD##*-}
  count
  before=$total
  wanted=$((before + $1 > 0 ? before + $1 : 0))
  if [ $(($1 * \${kilobytes%kB})) -lt "$available" ]; then
    echo $wanted >nr_hugepages
    count
    if [ $total -lt $wanted ]; then
      echo 1 >/proc/sys/vm/compact_memory
      echo $wanted >nr_hugepages
      count
    fi
  fi
  given=$((total - before))
  if [ $total -lt $wanted ]; then
    echo $before >nr_hugepages
    count
  fi
  exec 9<&-
}`
}
