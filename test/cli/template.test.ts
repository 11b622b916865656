import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { describe, expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../src/host/local.ts'
import { type CliOptions, cli, usePlace } from '../support/cli.ts'
import { keyOf, putDraft, putTemplate } from '../support/template-folders.ts'

const place = usePlace()
const template = (words: string[], options: Partial<CliOptions> = {}) =>
  cli(['template', ...words], { ...options, env: { ...place.env, ...options.env } })
const store = () => `${place.dir}/templates`

/** As the QEMUs of its clones have it, or its maker. */
async function use(folder: string) {
  const lock = await localHost().lock(folder, { shared: true })
  onTestFinished(() => lock.release())
  return lock
}

/** What it takes, in bytes and as it is printed. */
function sizeOf(folder: string) {
  const bytes = Number.parseInt(execFileSync('du', ['-sB1', '--', folder]).toString(), 10)
  return { bytes, size: `${(bytes / 2 ** 20).toFixed(1)}M` }
}

const FIELDS = ['key', 'folder', 'bytes', 'usedAt', 'complete', 'inUse', 'machine']

describe('template list', () => {
  test('has a line for each, the most recently used first, and what they take', async () => {
    const one = await putTemplate(store(), 1, { secondsAgo: 7200 })
    const label = { cpus: 4, memory: '2G', machine: 'pc-q35-7.2', devices: [] }
    const two = await putTemplate(store(), 2, { megabytes: 2, secondsAgo: 200, label })
    const begun = await putDraft(store(), 3, { secondsAgo: 300_000 })
    const making = await putDraft(store(), 4, { secondsAgo: 100_000 })
    for (const folder of [two, making]) await use(folder)
    await writeFile(`${store()}/notes`, "somebody's")
    const { stdout, stderr, exitCode } = await template(['list'])
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 })
    const [last = '', ...lines] = stdout.trimEnd().split('\n').reverse()
    const machine = ['512M, 1 CPU, q35, tcg, link + vhost-user', '2G, 4 CPUs, pc-q35-7.2, tcg']
    expect(lines.reverse().map((line) => line.split(/ {2,}/))).toEqual([
      ['KEY', 'SIZE', 'USED', 'STATE', 'MACHINE'],
      [keyOf(2), sizeOf(two).size, '3 min', 'in use', machine[1]],
      [keyOf(1), sizeOf(one).size, '2 h', 'unused', machine[0]],
      [keyOf(4), sizeOf(making).size, '27 h', 'being made', '-'],
      [keyOf(3), sizeOf(begun).size, '3 days', 'unfinished', '-'],
      [''],
    ])
    const all = [one, two, begun, making].reduce((sum, folder) => sum + sizeOf(folder).bytes, 0)
    expect(last).toMatch(
      new RegExp(`^${(all / 2 ** 20).toFixed(1)}M of [\\d.]+[MG] in ${store()}$`),
    )
  })

  test('as JSON has exactly these fields', async () => {
    const whole = await putTemplate(store(), 1)
    const begun = await putDraft(store(), 2, { secondsAgo: 60 })
    const { stdout, exitCode } = await template(['list', '--json'])
    expect(exitCode).toBe(0)
    const answer = JSON.parse(stdout)
    expect(Object.keys(answer)).toEqual(['version', 'path', 'limit', 'templates'])
    expect(answer).toEqual({
      ...{ version: 1, path: store(), limit: expect.any(Number) },
      templates: [
        {
          ...{ key: keyOf(1), folder: whole, bytes: sizeOf(whole).bytes },
          usedAt: (await stat(`${whole}/facts`)).mtime.toISOString(),
          ...{ complete: true, inUse: false },
          machine: {
            ...{ qemu: 'qemu-system-x86_64', machine: 'q35', accel: 'tcg' },
            ...{ cpus: 1, memory: '512M', devices: ['link', 'vhost-user'] },
          },
        },
        {
          ...{ key: keyOf(2), folder: begun, bytes: sizeOf(begun).bytes },
          usedAt: (await stat(begun)).mtime.toISOString(),
          ...{ complete: false, inUse: false, machine: null },
        },
      ],
    })
    for (const listed of answer.templates) expect(Object.keys(listed)).toEqual(FIELDS)
    const machine = ['qemu', 'machine', 'accel', 'cpus', 'memory', 'devices']
    expect(Object.keys(answer.templates[0].machine)).toEqual(machine)
  })

  test('of nothing', async () => {
    const nothing = { stdout: `no templates in ${store()}\n`, stderr: '', exitCode: 0 }
    expect(await template(['list'])).toMatchObject(nothing)
    expect(JSON.parse((await template(['list', '--json'])).stdout)).toEqual({
      ...{ version: 1, path: store(), limit: expect.any(Number), templates: [] },
    })
    expect((await stat(store())).mode & 0o777).toBe(0o700)
  })

  test('of a folder that is not this user’s alone fails, with what to do', async () => {
    await mkdir(store())
    await chmod(store(), 0o755)
    for (const words of [['list'], ['prune']]) {
      expect(await template(words)).toMatchObject({
        ...{ exitCode: 1, stdout: '' },
        stderr:
          `${store()} is not a folder of this user's alone\n` +
          '→ remove it, or set VITEST_DUT_TEMPLATES to a folder of your own with mode 700\n',
      })
    }
  })
})

// In a mount namespace, so that the machine's own templates are not touched.
describe.runIf(userInfo().uid === 0)('where they are kept', () => {
  const where = async (mount: string, env: Record<string, string> = {}) => {
    const script = `mount -t tmpfs ${mount}\nexec "$@"`
    const prefix = ['unshare', '--mount', 'sh', '-ec', script, 'sh']
    const { stdout, stderr } = await template(['list', '--json'], { prefix, env })
    expect(stderr).toBe('')
    const { path, limit } = JSON.parse(stdout)
    return { path, limit }
  }
  const unset = { VITEST_DUT_TEMPLATES: '' }

  test('in shared memory, a quarter of it', async () => {
    expect(await where('-o size=2G,mode=1777 tmpfs /dev/shm', unset)).toEqual({
      ...{ path: '/dev/shm/vitest-dut-0', limit: 512 << 20 },
    })
  })

  test('in the cache where there is little shared memory', async () => {
    const { path } = await where('-o size=64M,mode=1777 tmpfs /dev/shm', unset)
    expect(path).toBe(`${place.dir}/cache/templates`)
  })

  test('in the folder that is named, 8G at most', async () => {
    await mkdir(store())
    expect(await where(`-o size=64G,mode=700 tmpfs ${store()}`)).toEqual({
      ...{ path: store(), limit: 8 * 2 ** 30 },
    })
  })
})

describe('template prune', () => {
  test('removes what no VM uses and nobody makes, and says so', async () => {
    const [old, used] = [await putTemplate(store(), 1), await putTemplate(store(), 2)]
    const begun = await putDraft(store(), 3, { secondsAgo: 10 })
    const making = await putDraft(store(), 4, { secondsAgo: 20 })
    const locks = [await use(used), await use(making)]
    const bytes = sizeOf(old).bytes + sizeOf(begun).bytes
    const removed = [`${old} (${sizeOf(old).size})`, `${begun} (${sizeOf(begun).size})`]
    const count = `2 templates, ${(bytes / 2 ** 20).toFixed(1)}M`

    const dry = await template(['prune', '--dry-run'])
    expect(dry).toMatchObject({ stderr: '', exitCode: 0 })
    expect(dry.stdout.split('\n')).toEqual([
      ...removed.map((line) => `would remove ${line}`),
      ...[`kept ${used} (in use)`, `kept ${making} (being made)`],
      ...[`would remove ${count}`, ''],
    ])
    expect([old, used, begun, making].map(existsSync)).toEqual([true, true, true, true])

    const done = await template(['prune'])
    expect(done).toMatchObject({ stderr: '', exitCode: 0 })
    expect(done.stdout).toBe(dry.stdout.replaceAll('would remove', 'removed'))
    expect((await readdir(store())).sort()).toEqual([keyOf(2), `${keyOf(4)}.draft`])

    for (const lock of locks) await lock.release()
    expect((await template(['prune'])).stdout).toMatch(/\nremoved 2 templates, .*\n$/)
    expect(await readdir(store())).toEqual([])
  })

  test('as JSON has exactly these fields; what is used is kept', async () => {
    const [old, used] = [await putTemplate(store(), 1), await putTemplate(store(), 2)]
    await use(used)
    const { bytes } = sizeOf(old)
    for (const [dryRun, words] of [
      [true, ['prune', '--dry-run', '--json']],
      [false, ['prune', '--json']],
    ] as const) {
      const { stdout, exitCode } = await template([...words])
      expect(exitCode).toBe(0)
      const answer = JSON.parse(stdout)
      expect(Object.keys(answer)).toEqual(['version', 'dryRun', 'bytes', 'removed', 'kept'])
      expect(answer).toMatchObject({
        ...{ version: 1, dryRun, bytes },
        removed: [{ folder: old, bytes, complete: true, inUse: false }],
        kept: [{ folder: used, complete: true, inUse: true }],
      })
      for (const listed of [...answer.removed, ...answer.kept]) {
        expect(Object.keys(listed)).toEqual(FIELDS)
      }
      expect([old, used].map(existsSync)).toEqual([dryRun, true])
    }
  })

  test('of nothing', async () => {
    await writeFile(`${place.dir}/beside`, '')
    await mkdir(store(), { mode: 0o700 })
    await mkdir(`${store()}/${keyOf(1)}.backup`)
    const { stdout, exitCode } = await template(['prune'])
    expect({ stdout, exitCode }).toEqual({ stdout: 'removed 0 templates, 0B\n', exitCode: 0 })
    expect(await readdir(store())).toEqual([`${keyOf(1)}.backup`])
  })
})
