import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { processesOf, suiteEnv } from '../../src/fleet/leftovers.ts'
import { openRunFolder } from '../../src/fleet/run-folder.ts'
import { sweepHost } from '../../src/fleet/sweep.ts'
import type { Host } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { readLedger } from '../../src/lease/ledger/records.ts'
import { useLockDir } from '../support/lock-dir.ts'
import { startProcess } from '../support/process.ts'
import { isRunning, untilGone } from '../support/processes.ts'

const locks = useLockDir()
let host: Host
let base = ''
beforeEach(async () => {
  // Bridges are this machine's and not the folder's: other tests have theirs at the same time.
  const local = localHost()
  host = {
    ...local,
    findProgram: async (name) => (name === 'ip' ? undefined : local.findProgram(name)),
  }
  const top = await mkdtemp(join(tmpdir(), 'swept-'))
  onTestFinished(() => rm(top, { recursive: true }))
  base = join(top, 'a[b]*.c$\\^+(d) e')
})

interface Has {
  path: string
  daemon: number
  holder: number
  leases: [string, string]
  wish: string
  owner: string
}

/** A run of another process. */
async function startRun(name: string) {
  const run = startProcess('run-peer.ts', [base, name], { lockDir: locks.path })
  onTestFinished(() => run.kill())
  const has: Has = JSON.parse(await run.line())
  onTestFinished(() => {
    for (const pid of [has.daemon, has.holder]) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {} // as it should be
    }
  })
  return { ...has, kill: run.kill }
}

const inLedger = async () => (await readdir(locks.path)).filter((name) => name.includes('@')).sort()
const runs = async () => (await readdir(base)).filter((name) => name !== 'lock').sort()
const filesOf = ({ leases, wish, owner }: Has) => [...leases, wish, owner]

async function expectUntouched(run: Has): Promise<void> {
  expect(await readFile(join(run.path, 'suite/vm0/qemu.log'), 'utf8')).toBe('left over')
  expect(isRunning(run.daemon)).toBe(true)
  expect(isRunning(run.holder)).toBe(true)
  expect(await inLedger()).toEqual(expect.arrayContaining(filesOf(run)))
  const files = [run.leases[1], run.owner].map((file) => join(locks.path, file))
  expect(await host.held(files)).toEqual([true, true])
}

describe('beside one that is alive, of a run that was killed', () => {
  test('all is removed, and only that; a dry run only tells it', async () => {
    const [dead, alive] = await Promise.all([startRun('dead'), startRun('alive')])
    expect((await sweepHost(host, { base })).runs).toEqual([])
    await expectUntouched(dead)
    await dead.kill('SIGKILL')

    const told = await sweepHost(host, { base, dryRun: true })
    expect(told.runs).toEqual([dead.path])
    const pids = (swept: typeof told) => swept.processes.map(({ pid }) => pid).sort()
    expect(pids(told)).toEqual([dead.daemon, dead.holder].sort())
    expect(told.processes.map(({ command }) => command)).toContain('sleep 54321')
    // While a program holds it, a lease is not one of the dead.
    expect(told.leases.map(({ file }) => file)).toEqual([dead.leases[0]])
    expect(told.wishes.map(({ file }) => file)).toEqual([dead.wish])
    expect(told.owners).toEqual([dead.owner])
    expect(isRunning(dead.daemon)).toBe(true)
    expect(await runs()).toHaveLength(2)
    expect(await inLedger()).toHaveLength(8)

    const swept = await sweepHost(host, { base })
    expect(swept.runs).toEqual([dead.path])
    expect(pids(swept)).toEqual(pids(told))
    expect(swept.leases.map(({ file }) => file).sort()).toEqual([...dead.leases].sort())
    expect([swept.stuck, swept.failed]).toEqual([[], []])
    expect(isRunning(dead.daemon)).toBe(false)
    expect(isRunning(dead.holder)).toBe(false)
    await expect(stat(dead.path)).rejects.toThrow('ENOENT')
    expect(await inLedger()).toEqual(filesOf(alive).sort())
    await expectUntouched(alive)

    const nothing = { runs: [], processes: [], stuck: [], leases: [], wishes: [], owners: [] }
    expect(await sweepHost(host, { base })).toMatchObject(nothing)
    await alive.kill('SIGKILL')
    await sweepHost(host, { base })
    expect([await runs(), await inLedger()]).toEqual([[], []])
    for (const pid of [alive.daemon, alive.holder]) await untilGone(pid)
  })

  test('what a program still holds that got away from another base is not touched', async () => {
    const dead = await startRun('dead')
    await dead.kill('SIGKILL')
    const elsewhere = join(base, '../another')
    const swept = await sweepHost(host, { base: elsewhere })
    expect(swept.leases.map(({ file }) => file)).toEqual([dead.leases[0]])
    expect((await readLedger(host)).leases.map(({ file }) => file)).toEqual([dead.leases[1]])
    expect(isRunning(dead.holder)).toBe(true)
    process.kill(dead.holder, 'SIGKILL')
    await untilGone(dead.holder)
    await sweepHost(host, { base: elsewhere })
    expect(await inLedger()).toEqual([])
  })

  test('is done by the next run that starts, and by many at once', async () => {
    const dead = await startRun('dead')
    await dead.kill('SIGKILL')
    const folders = await Promise.all([1, 2, 3].map(() => openRunFolder(host, base)))
    expect(await runs()).toEqual(folders.map(({ path }) => path.slice(-6)).sort())
    expect(await inLedger()).toEqual([])
    expect(isRunning(dead.daemon)).toBe(false)
    await Promise.all(folders.map((folder) => folder.close()))
    expect(await runs()).toEqual([])
  })
})

describe('programs', () => {
  const start = async (dir: string) => {
    const line = 'setsid --fork sleep 54323 </dev/null >/dev/null 2>&1'
    await host.run('sh', ['-c', line], { env: suiteEnv(dir) })
    // For a moment it is still a setsid(1).
    const commands = async () => (await processesOf(host, dir)).map(({ command }) => command)
    await expect.poll(commands).toEqual(['sleep 54323'])
  }
  const alive = async () => {
    const { stdout } = await host.run('sh', [
      '-c',
      'grep -lasz "^VITEST_DUT_SUITE=$1" /proc/[0-9]*/environ | wc -l',
      ...['sh', join(base, '..').replaceAll('.', '\\.')],
    ])
    return Number(stdout)
  }

  test('of folders with like names are kept apart', async () => {
    await mkdir(join(base, 'abc123'), { recursive: true, mode: 0o700 })
    await chmod(base, 0o700)
    const like = [
      join(base, 'abc1234/suite'), // a longer name
      join(base, 'abc12/suite'), // a shorter one
      `${base}0/abc123/suite`, // another base
      join(base, '../abbb.c$\\^+(d) e/abc123/suite'), // what ours would mean as a pattern
      join(base, 'abc123'), // no suite
    ]
    onTestFinished(async () => {
      const { stdout } = await host.run('sh', [
        '-c',
        `grep -lasz '^VITEST_DUT_SUITE=/tmp/swept-' /proc/[0-9]*/environ | cut -d/ -f3`,
      ])
      for (const pid of stdout.split('\n').map(Number)) if (pid > 1) process.kill(pid, 'SIGKILL')
    })
    for (const dir of [...like, join(base, 'abc123/suite')]) await start(dir)
    const { processes } = await sweepHost(host, { base })
    expect(processes.map(({ command }) => command)).toEqual(['sleep 54323'])
    expect(await alive()).toBe(like.length)
  })
})

test.runIf(userInfo().uid === 0)(
  'a folder that cannot be removed keeps nobody from starting',
  async () => {
    const stuck = join(base, 'abc123')
    await mkdir(stuck, { recursive: true })
    await mkdir(join(base, 'abc124'))
    await chmod(base, 0o700)
    const source = join(import.meta.dirname, '../../src')
    const code = `
      import { openRunFolder } from '${source}/fleet/run-folder.ts'
      import { sweepHost } from '${source}/fleet/sweep.ts'
      import { localHost } from '${source}/host/local.ts'
      const base = process.argv[1]
      const host = localHost()
      const folder = await openRunFolder(host, base)
      const names = (await host.listDir(base)).filter((name) => ['abc123', 'abc124'].includes(name))
      const { stuck, runs } = await sweepHost(host, { base })
      await folder.close()
      console.log(JSON.stringify([names, stuck.map(({ folder }) => folder), runs]))`
    // A mount point cannot be removed; in a namespace of its own it is gone with the process.
    const script = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
    const node = [process.execPath, '--input-type=module-typescript', '-e', code, base]
    const { stdout } = await host.run('unshare', ['--mount', 'sh', '-c', script, stuck, ...node])
    expect(JSON.parse(stdout)).toEqual([['abc123'], [stuck], []])
  },
)

test('a base that cannot be made is named, with what to do', async () => {
  await writeFile(base, '')
  await expect(openRunFolder(host, join(base, 'below'))).rejects.toThrow(
    /the run folder .*below cannot be made: ENOTDIR.*\n→ set VITEST_DUT_RUN_DIR to a folder of your own/,
  )
})
