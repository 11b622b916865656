import { readdir, readFile, readlink } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { InfrastructureError } from '../../../src/errors.ts'
import { localHost } from '../../../src/host/local.ts'
import {
  changePages,
  pageChanger,
  poolFolder,
  readPages,
} from '../../../src/lease/resources/pages.ts'
import { usePagesTurn } from '../../support/pages-turn.ts'
import { startQemu } from '../../support/qmp-peer.ts'
import { makeTree } from '../../support/tree.ts'

const { change } = usePagesTurn()

const host = localHost()
const small = { size: '2M', node: 0 } as const

async function pool() {
  const { pools, reserved } = await readPages(host)
  const found = pools.find(({ size, node }) => size === '2M' && node === 0)
  if (found === undefined) throw new Error('this machine has no huge pages')
  return { ...found, reserved: reserved['2M'] }
}

/** A QEMU with guest memory in huge pages. */
const occupy = (pages: number, options = 'prealloc=on') =>
  startQemu([
    ...['-machine', 'none', '-object'],
    `memory-backend-memfd,id=m,size=${pages * 2}M,hugetlb=on,hugetlbsize=2M,share=on,${options}`,
  ])

/** Tells whether a flock(1) wants the pool's folder. (/proc/locks has nothing of other PID namespaces.) */
async function waitsFor(folder: string): Promise<boolean> {
  const processes = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const found = processes.map(async (pid) => {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (command !== 'flock\x009\0') return false
    return (await readlink(`/proc/${pid}/fd/9`).catch(() => '')) === folder
  })
  return (await Promise.all(found)).includes(true)
}

describe('this machine’s pages', () => {
  test('are those of the kernel’s own files', async () => {
    await change(3)
    const number = async (name: string) =>
      Number(await readFile(`/sys/kernel/mm/hugepages/hugepages-2048kB/${name}_hugepages`, 'utf8'))
    const { pools, reserved, defaultSize } = await readPages(host)
    const nodes = pools.filter(({ size }) => size === '2M')
    const sum = (key: 'total' | 'free') => nodes.reduce((all, pool) => all + pool[key], 0)
    expect(sum('total')).toBe((await number('nr')) - (await number('surplus')))
    expect(sum('free')).toBe(await number('free'))
    expect(sum('free')).toBeGreaterThanOrEqual(3)
    expect(reserved['2M']).toBe(await number('resv'))
    const meminfo = await readFile('/proc/meminfo', 'utf8')
    expect(meminfo).toMatch(RegExp(`Hugepagesize: +${defaultSize === '1G' ? 1048576 : 2048} kB`))
  })

  test('are counted when a program has touched them, and free again when it is gone', async () => {
    await change(4)
    const before = await pool()
    {
      await using _ = await occupy(3)
      expect(await pool()).toEqual({ ...before, free: before.free - 3 })
    }
    await expect.poll(pool).toEqual(before)
  })

  test('are reserved, and still free, before they are touched', async () => {
    await change(4)
    const before = await pool()
    {
      await using _ = await occupy(3, 'prealloc=off')
      expect(await pool()).toEqual({ ...before, reserved: before.reserved + 3 })
    }
    await expect.poll(pool).toEqual(before)
  })
})

describe('changing a pool', () => {
  test('adds and takes away', async () => {
    const { total, free } = await pool()
    await change(5)
    expect(await pool()).toMatchObject({ total: total + 5, free: free + 5 })
    await change(-2)
    expect(await pool()).toMatchObject({ total: total + 3, free: free + 3 })
    await change(-3)
    expect(await pool()).toMatchObject({ total, free })
  })

  test('loses nobody’s pages when many do it at once', async () => {
    const { total } = await pool()
    const counts = [1, 2, 3, 1, 2, 3, 1, 2]
    await Promise.all(counts.map((count) => change(count)))
    expect((await pool()).total).toBe(total + 15)
    await Promise.all(counts.map((count) => change(-count)))
    expect((await pool()).total).toBe(total)
  })

  test('waits while somebody else does', async () => {
    const { total } = await pool()
    const folder = poolFolder('2M', { node: 0 })
    const other = await host.lock(folder)
    const changing = change(1)
    try {
      await expect.poll(() => waitsFor(folder), { timeout: 20_000 }).toBe(true)
      expect((await pool()).total).toBe(total)
    } finally {
      await other.release()
      await changing
    }
    expect((await pool()).total).toBe(total + 1)
  })

  test('leaves a program its pages, which go when it ends', async () => {
    const { total } = await pool()
    await change(2)
    {
      await using _ = await occupy(2)
      await change(-2)
      expect(await pool()).toMatchObject({ total })
      await change(1)
      expect(await pool()).toMatchObject({ total: total + 1 })
      await change(-1)
    }
    const nr = async () => Number(await readFile(`${poolFolder('2M')}/nr_hugepages`, 'utf8'))
    await expect.poll(nr).toBe(total)
  })

  test('for more than there is memory for is refused with what there is', async () => {
    const before = await pool()
    const error = await changePages(host, small, 1 << 24).catch((reason) => reason)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(/16777216 huge pages of 2M on node 0 .* the kernel gave 0/)
    expect(error.hint).toMatch(/^\d+M of memory were available/)
    expect(await pool()).toEqual(before)
  })

  test('on a node that is not there is refused', async () => {
    const error = await changePages(host, { size: '2M', node: 1000 }, 1).catch((reason) => reason)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(/on node 1000.*node1000/s)
    expect(error.hint).toContain('such a node')
  })

  test.each([
    [1, 'cannot be added'],
    [-1, 'cannot be given back'],
  ])('by %d is for root only', async (by, message) => {
    await change(1)
    const before = await pool()
    const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups', '--']
    const run: typeof host.run = (file, args) => host.run('setpriv', [...nobody, file, ...args])
    const error = await changePages({ ...host, run }, small, by).catch((reason) => reason)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain(`1 huge pages of 2M on node 0 ${message}`)
    expect(error.hint).toMatch(/only root.*nr_hugepages/)
    expect(await pool()).toEqual(before)
  })
})

describe('where the kernel has no more', () => {
  // A pool of 10 pages that takes up to 12: what is written to it goes through the shell's `echo`.
  const stingy = 'echo() { [ "$1" -gt 12 ] && set -- 12; printf "%s\\n" "$1"; }'
  const stingily = async (by: number, shell: string) => {
    const root = await makeTree({
      'hugepages-2048kB/nr_hugepages': 10,
      'hugepages-2048kB/surplus_hugepages': 0,
    })
    const script = `${stingy}
      ${pageChanger(`${root}/hugepages-2048kB`)}
      change ${by}
      printf '%s ' $before $given $total`
    const { stdout } = await host.run(shell, ['-c', script])
    return [
      ...stdout.trim().split(' ').map(Number),
      Number(await readFile(`${root}/hugepages-2048kB/nr_hugepages`, 'utf8')),
    ]
  }

  test.each(['sh', 'bash'])('%s keeps all or none', async (shell) => {
    expect(await stingily(2, shell)).toEqual([10, 2, 12, 12])
    expect(await stingily(3, shell)).toEqual([10, 2, 10, 10])
    expect(await stingily(0, shell)).toEqual([10, 0, 10, 10])
    expect(await stingily(-4, shell)).toEqual([10, -4, 6, 6])
    expect(await stingily(-11, shell)).toEqual([10, -10, 0, 0])
  })
})

describe('another machine', () => {
  const pages = (folder: string, counts: Record<string, number>) =>
    Object.fromEntries(
      Object.entries(counts).map(([kind, n]) => [`${folder}/${kind}_hugepages`, n]),
    )
  const read = async (...files: Record<string, number>[]) =>
    readPages(host, await makeTree(Object.assign({}, ...files)))

  test('with nodes, one without memory and one without large pages', async () => {
    const node = (n: number, kilobytes: number) =>
      `devices/system/node/node${n}/hugepages/hugepages-${kilobytes}kB`
    const { pools, reserved } = await read(
      pages('kernel/mm/hugepages/hugepages-2048kB', { resv: 7 }),
      pages('kernel/mm/hugepages/hugepages-1048576kB', { resv: 1 }),
      pages(node(10, 2048), { nr: 5, free: 5, surplus: 0 }),
      pages(node(0, 2048), { nr: 512, free: 100, surplus: 12 }),
      pages(node(0, 1_048_576), { nr: 4, free: 2, surplus: 0 }),
      pages(node(0, 64), { nr: 9, free: 9, surplus: 0 }),
      { 'devices/system/node/node2/cpulist': 3, 'devices/system/node/online': 0 },
    )
    expect(pools).toEqual([
      { size: '2M', node: 0, total: 500, free: 100 },
      { size: '1G', node: 0, total: 4, free: 2 },
      { size: '2M', node: 10, total: 5, free: 5 },
    ])
    expect(reserved).toEqual({ '2M': 7, '1G': 1 })
  })

  test('that knows of no nodes', async () => {
    const { pools, reserved } = await read(
      pages('kernel/mm/hugepages/hugepages-2048kB', { nr: 8, free: 6, surplus: 0, resv: 2 }),
    )
    expect(pools).toEqual([{ size: '2M', node: 0, total: 8, free: 6 }])
    expect(reserved).toEqual({ '2M': 2, '1G': 0 })
  })

  test('without huge pages', async () => {
    expect(await read({ 'kernel/mm/x': 0 })).toMatchObject({
      pools: [],
      reserved: { '2M': 0, '1G': 0 },
    })
  })
})
