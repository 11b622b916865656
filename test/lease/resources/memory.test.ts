import { accessSync, constants } from 'node:fs'
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../../src/host/local.ts'
import { readMemory, touched } from '../../../src/lease/resources/memory.ts'
import { usePagesTurn } from '../../support/pages-turn.ts'
import { startQemu } from '../../support/qmp-peer.ts'
import { makeTree } from '../../support/tree.ts'

const { change } = usePagesTurn()

const host = localHost()
const MB = 2 ** 20

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const V1 = '/sys/fs/cgroup/memory'
const canMakeGroup = (() => {
  try {
    accessSync(V1, constants.W_OK)
    return true
  } catch {
    return false
  }
})()

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
  const read = async (path: string, files: Record<string, string | number>, top = '/') => {
    const root = await makeTree({ meminfo: meminfo.join('\n'), cgroup: path, ...files })
    const mounts = [
      `24 1 0:22 / ${root}/other rw - tmpfs tmpfs rw`,
      `30 24 0:26 ${top} ${root}/memory rw shared:4 - cgroup cgroup rw,memory,hugetlb`,
      `31 24 0:27 ${top} ${root}/cgroups rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate`,
    ]
    await writeFile(`${root}/mountinfo`, mounts.join('\n'))
    return readMemory(host, {
      meminfo: `${root}/meminfo`,
      cgroup: `${root}/cgroup`,
      mountinfo: `${root}/mountinfo`,
    })
  }
  const group1 = (path: string, max: number, used = 0, cache = 0, hierarchy = 1) => ({
    [`memory${path}/memory.limit_in_bytes`]: max * MB,
    [`memory${path}/memory.usage_in_bytes`]: used * MB,
    [`memory${path}/memory.use_hierarchy`]: hierarchy,
    [`memory${path}/memory.stat`]: `inactive_file 7\ntotal_inactive_file ${cache * MB}\ntotal_x 3`,
  })
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
    [
      'where what is used is slowed down',
      '0::/a',
      { ...group('/a', 1000, 100), 'cgroups/a/memory.high': 400 * MB },
      { total: 400 * MB, available: 300 * MB },
    ],
    [
      'no limit from which it is slowed down',
      '0::/a',
      { ...group('/a', 1000, 100), 'cgroups/a/memory.high': 'max' },
      { total: 1000 * MB, available: 900 * MB },
    ],
    [
      'version 1',
      '4:hugetlb,memory:/a\n1:cpu:/b',
      { ...group1('/a', 1000, 400, 300), ...group1('/b', 1) },
      { total: 1000 * MB, available: 900 * MB },
    ],
    ['version 1 without a limit', '4:memory:/a', group1('/a', 2 ** 43 - 1), WHOLE],
    [
      'version 1, far above',
      '4:memory:/a/b/c',
      { ...group1('/a/b/c', 3000), ...group1('/a', 2000, 1999) },
      { total: 2000 * MB, available: MB },
    ],
    [
      'version 1, above, where that is not for those below',
      '4:memory:/a/b',
      { ...group1('/a/b', 3000), ...group1('/a', 2000, 1999, 0, 0) },
      { total: 3000 * MB, available: 3000 * MB },
    ],
    [
      'both versions, of which one has it',
      '4:memory:/a\n0::/x',
      { ...group1('/a', 1000), ...group('/a', 1) },
      { total: 1000 * MB, available: 1000 * MB },
    ],
    [
      'both versions, where the other one has it',
      '1:cpu:/a\n0::/a',
      { ...group1('/a', 1), ...group('/a', 1000) },
      { total: 1000 * MB, available: 1000 * MB },
    ],
  ])('%s', async (_, path, files, memory) => {
    expect(await read(path, files)).toEqual(memory)
  })

  test.each([
    ['4:memory:/docker/1f/x', group1('/x', 500)],
    ['4:memory:/docker/1f', group1('', 500)],
    ['0::/docker/1f/x', group('', 500)],
    ['0::/docker/1fa', group('', 500)],
  ])('%s, of which /docker/1f is what is mounted', async (path, files) => {
    const memory = { total: 500 * MB, available: 500 * MB }
    expect(await read(path, files, '/docker/1f')).toEqual(memory)
  })
})

describe.skipIf(!canMakeGroup)('in a control group of version 1 of this machine', () => {
  test('what that allows is what there is, also for the groups in it', async () => {
    const group = `${V1}/vitest-dut-test-${crypto.randomUUID()}`
    await mkdir(`${group}/inner`, { recursive: true })
    onTestFinished(() => rmdir(`${group}/inner`).then(() => rmdir(group)))
    await writeFile(`${group}/memory.limit_in_bytes`, '1G')
    const script = `
      import { localHost } from '${at('../../../src/host/local.ts')}'
      import { readMemory } from '${at('../../../src/lease/resources/memory.ts')}'
      console.log(JSON.stringify(await readMemory(localHost())))`
    const enter = `echo $$ >${group}/inner/cgroup.procs && exec "$0" --input-type=module -e "$1"`
    const { stdout } = await host.run('sh', ['-c', enter, process.execPath, script])
    const { total, available } = JSON.parse(stdout)
    expect(total).toBe(1024 * MB)
    expect(available).toBeGreaterThan(512 * MB)
    expect(available).toBeLessThan(1024 * MB)
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
