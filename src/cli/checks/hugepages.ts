import type { Host } from '../../host/host.ts'
import { formatSize } from '../../units.ts'
import { type Check, degraded, type Machine, ok } from './check.ts'

const NODES = '/sys/devices/system/node'
/** What the line to type asks for: enough for a few guests. */
const SUGGESTED_BYTES = 2 ** 30

interface Pool {
  /** As a VM's spec names it: `2M`. */
  size: string
  bytes: number
  node: string
  folder: string
}

/** One check for each NUMA node and size of page. */
export async function hugepages(host: Host): Promise<Check[]> {
  const pools = await poolsOf(host)
  if (pools.length === 0) {
    const look = async () => degraded('this kernel has no huge pages')
    return [{ name: 'hugepages', look }]
  }
  return pools.map((pool) => ({
    name: `hugepages ${pool.node} ${pool.size}`,
    look: (machine) => lookAt(machine, pool),
  }))
}

async function lookAt({ host, root }: Machine, { folder, bytes }: Pool) {
  const read = async (name: string) =>
    Number(Buffer.from(await host.readFile(`${folder}/${name}`)).toString())
  const [total, free] = await Promise.all([read('nr_hugepages'), read('free_hugepages')])
  if (total > 0) return ok(`${total} page${total === 1 ? '' : 's'}, ${free} free`)
  const pages = Math.max(1, SUGGESTED_BYTES / bytes)
  const file = `${folder}/nr_hugepages`
  const line = root ? `echo ${pages} >${file}` : `echo ${pages} | sudo tee ${file}`
  return degraded('no pages', line)
}

/** Whether a run may add pages to the host's own. */
export const growth: Check = {
  name: 'hugepages growth',
  look: async ({ host }) => {
    const [pool] = await poolsOf(host)
    const facts = pool && (await host.fileFacts(`${pool.folder}/nr_hugepages`))
    return facts?.writable ? ok('may add pages') : degraded('may not add pages: only root may')
  },
}

async function poolsOf(host: Host): Promise<Pool[]> {
  const nodes = (await host.listDir(NODES)).filter((name) => /^node\d+$/.test(name))
  const pools = await Promise.all(
    nodes.map(async (node) => {
      const parent = `${NODES}/${node}/hugepages`
      return (await host.listDir(parent)).flatMap((name): Pool[] => {
        const kilobytes = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1] ?? 0)
        if (kilobytes === 0) return []
        const bytes = kilobytes * 1024
        return [{ size: formatSize(bytes), bytes, node, folder: `${parent}/${name}` }]
      })
    }),
  )
  const number = ({ node }: Pool) => Number(node.slice('node'.length))
  return pools.flat().sort((a, b) => number(a) - number(b) || a.bytes - b.bytes)
}
