import { readFile } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { describe, expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../src/host/local.ts'
import { readMemory, touched } from '../../src/lease/memory.ts'
import { startQemu } from '../qemu/qmp-peer.ts'
import { usePagesTurn } from './pages-turn.ts'
import { makeTree } from './tree.ts'

const { change } = usePagesTurn()

const host = localHost()
const MB = 2 ** 20

describe('this machine’s memory', () => {
  test('is what the kernel has, without huge pages', async () => {
    const { total, available } = await readMemory(host)
    const huge = Number(/^Hugetlb: +(\d+)/m.exec(await readFile('/proc/meminfo', 'utf8'))?.[1])
    expect(total).toBeLessThanOrEqual(totalmem() - huge * 1024)
    expect(available).toBeGreaterThan(0)
    expect(available).toBeLessThan(total)
  })

  test('gets less by huge pages', async () => {
    const before = await readMemory(host)
    await change(8)
    const between = await readMemory(host)
    await change(-8)
    expect(before.total - between.total).toBe(16 * MB)
    expect((await readMemory(host)).total).toBe(before.total)
  })
})

describe('in control groups', () => {
  const meminfo = ['MemTotal:  8388608 kB', 'MemAvailable:  4194304 kB', 'Hugetlb:  1048576 kB']
  const WHOLE = { total: 7168 * MB, available: 4096 * MB }
  const read = async (path: string, files: Record<string, string | number>) => {
    const root = await makeTree({ meminfo: meminfo.join('\n'), cgroup: path, ...files })
    return readMemory(host, {
      meminfo: `${root}/meminfo`,
      cgroup: `${root}/cgroup`,
      cgroups: `${root}/cgroups`,
    })
  }
  const group = (path: string, max: number | 'max', used = 0, cache = 0) => ({
    [`cgroups${path}/memory.max`]: max === 'max' ? max : max * MB,
    [`cgroups${path}/memory.current`]: used * MB,
    [`cgroups${path}/memory.stat`]: `anon 1\ninactive_anon 2\ninactive_file ${cache * MB}\nslab 3`,
  })

  test.each<[string, string, Record<string, string | number>, object]>([
    ['none', '', {}, WHOLE],
    ['version 1 alone', '4:memory:/a\n1:cpu:/a', group('/a', 100), WHOLE],
    ['no limit', '0::/a/b', group('/a/b', 'max', 100), WHOLE],
    ['one without files', '0::/a/b', {}, WHOLE],
    ['a limit above the host’s memory', '0::/a', group('/a', 16_384), WHOLE],
    ['its own limit', '0::/a', group('/a', 1000), { total: 1000 * MB, available: 1000 * MB }],
    [
      'less what is used',
      '0::/a',
      group('/a', 1000, 400),
      { total: 1000 * MB, available: 600 * MB },
    ],
    [
      'but the cache',
      '0::/a',
      group('/a', 1000, 400, 300),
      { total: 1000 * MB, available: 900 * MB },
    ],
    ['a full one', '0::/a', group('/a', 100, 101), { total: 100 * MB, available: 0 }],
    [
      'one far above with less, and one with less left',
      '9:name=systemd:/x\n0::/a/b/c',
      { ...group('/a/b/c', 3000), ...group('/a/b', 'max'), ...group('/a', 2000, 1999) },
      { total: 2000 * MB, available: MB },
    ],
    ['a container’s root', '0::/', group('', 500, 100), { total: 500 * MB, available: 400 * MB }],
    [
      'one outside the container',
      '0::/../x',
      { ...group('', 500), ...group('/../x', 100) },
      { total: 500 * MB, available: 500 * MB },
    ],
    ['another’s', '0::/ab', group('/a', 500), WHOLE],
    [
      'a limit that says nothing of use',
      '0::/a',
      { 'cgroups/a/memory.max': MB },
      { total: MB, available: MB },
    ],
  ])('%s', async (_, path, files, memory) => {
    expect(await read(path, files)).toEqual(memory)
  })
})

describe('what a process has touched', () => {
  test('of its own memory', async () => {
    // Not of this process, which gives memory back whenever it likes.
    const code = `print("up", flush=True); input(); kept = b"x" * 2**26; print("made", flush=True); input()`
    const python = host.openPty('python3', ['-c', code])
    onTestFinished(() => python.kill())
    let printed = ''
    python.onData((data) => {
      printed += Buffer.from(data)
    })
    await expect.poll(() => printed).toContain('up')
    const before = await touched(host, python.pid)
    python.write('\n')
    await expect.poll(() => printed).toContain('made')
    expect(((await touched(host, python.pid)) - before) / MB).toBeGreaterThan(60)
  })

  /** How much more a QEMU has touched because its memory was written to at its start. */
  async function preallocated(backend: string): Promise<number> {
    const root = await makeTree({})
    const start = (name: string) =>
      startQemu([
        ...['-machine', 'none', '-pidfile', `${root}/${name}`],
        ...['-object', `${backend},id=m,size=64M,prealloc=${name}`],
      ])
    const measure = async (name: string) =>
      touched(host, Number(await readFile(`${root}/${name}`, 'utf8')))
    await using _lazy = await start('off')
    await using _eager = await start('on')
    return (await measure('on')) - (await measure('off'))
  }

  test.each([
    ['private', 'memory-backend-ram'],
    ['shared', 'memory-backend-memfd,share=on'],
  ])('of %s guest memory', async (_, backend) => {
    const bytes = await preallocated(backend)
    expect(bytes / MB).toBeGreaterThan(60)
    expect(bytes / MB).toBeLessThan(68)
  })

  test('but not of huge pages', async () => {
    await change(64)
    const bytes = await preallocated('memory-backend-memfd,share=on,hugetlb=on,hugetlbsize=2M')
    expect(Math.abs(bytes / MB)).toBeLessThan(4)
  })

  test.each([
    ['a process that is not there', 2 ** 22 + 1],
    ['the kernel’s own', 2],
  ])('%s has none', async (_, pid) => {
    expect(await touched(host, pid)).toBe(0)
  })
})
