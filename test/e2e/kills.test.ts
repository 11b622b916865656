import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { sweepHost } from '../../src/fleet/sweep.ts'
import { localHost } from '../../src/host/local.ts'
import { poll, waitFor } from '../../src/wait.ts'
import { isRoot, MARKS, MOMENTS, type Moment, qemusOf, SPECS } from '../support/kill-moments.ts'
import { usePagesTurn } from '../support/pages-turn.ts'
import { familyOf, isRunning, processesWith, withoutForks } from '../support/processes.ts'
import { makeProject, type Project, type Running } from '../support/project.ts'
import { heldIn, inventory } from '../support/remains.ts'

usePagesTurn()

const ROUNDS = 50
/** How long what was killed may take with all that depends on it. */
const GONE_MS = 1000
/** To see a failure again: the seed that it tells. The moments are the same then, almost. */
const SEED = Number(process.env.KILLS_SEED ?? crypto.getRandomValues(new Uint32Array(1))[0])

/** Of this test's own, so that others who take ports at the same time are not seen. */
const PORTS = [27_000, 27_099] as const
const pluginWith = ({ grow }: { grow: boolean }) =>
  `dut({ duts: [{ name: 'dut0', ports: [${PORTS}] }], hugepages: { grow: ${grow} } })`

/** mulberry32: from 0 to 1, the same numbers for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
const random = randomFrom(SEED)
const oneOf = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)] as T

interface Killed {
  kind: 'main' | 'worker' | 'qemu'
  /** Milliseconds until nothing of it ran any more. */
  goneMs: number
}

/** One run that is killed at that moment; undefined where it was over before. */
async function round(project: Project, moment: Moment): Promise<Killed | undefined> {
  for (const name of MARKS) rmSync(join(project.dir, name), { force: true })
  const undo = await moment.prepare?.()
  const running = project.vitest(moment.specs, '--maxWorkers=1')
  const { child, ended } = running
  const main = child.pid ?? 0
  const all = () => processesWith(project.dir)
  try {
    const early = ended.then(({ output }) => Promise.reject(new Error(`it ended:\n${output}`)))
    early.catch(() => {}) // also when nobody waits for the moment any more
    await Promise.race([moment.reach(project), early])
    const killAt = performance.now() + random() * moment.withinMs
    await poll(() => performance.now() >= killAt || undefined, { everyMs: 1 })

    const family = all()
    const workers = withoutForks(family.filter(({ command }) => command.includes('workers/forks')))
    const candidates = [
      ...(child.exitCode === null ? [{ kind: 'main', pid: main } as const] : []),
      ...workers.map(({ pid }) => ({ kind: 'worker', pid }) as const),
      ...qemusOf(project).map((pid) => ({ kind: 'qemu', pid }) as const),
    ]
    const kinds = [...new Set(candidates.map(({ kind }) => kind))]
    if (kinds.length === 0) return undefined
    const kind = oneOf(kinds)
    const { pid } = oneOf(candidates.filter((one) => one.kind === kind))
    const killedAt = performance.now()
    if (!kill(pid)) return undefined
    const doomed = kind === 'main' ? family : familyOf(pid, family)
    const left = () => [
      ...doomed.filter((one) => isRunning(one.pid)),
      ...(kind === 'main' ? all() : []), // also what was started just then
    ]
    const empty = () => left().length === 0 || undefined
    await poll(empty, { timeoutMs: 10 * GONE_MS, everyMs: 2 }).catch(() => {})
    const goneMs = performance.now() - killedAt
    expect(left(), kind).toEqual([])
    expect(goneMs, kind).toBeLessThan(GONE_MS)

    const stayed = kind === 'qemu' && (await endIfItStays(project, moment, running))
    const { status, output } = await waitFor(ended, { timeoutMs: 60_000 })
    expect(all(), kind).toEqual([])
    if (kind === 'qemu') {
      if (stayed) expect(status).toBe(null)
      else if (status === 1) expect(output).toContain('QEMU was killed by SIGKILL')
      else expect(moment.testing || moment.specs === 'stays', output).toBeFalsy()
    }
    if (kind === 'worker' && moment.specs === 'stays') expect(status, output).toBe(1)
    return { kind, goneMs }
  } finally {
    await undo?.()
    kill(main)
  }
}

/**
 * A VM whose QEMU dies while it is cloned boots from its kernel on, and the QEMU of one that makes a
 * template may have had nothing left to do; then the run stays: true.
 */
async function endIfItStays(
  project: Project,
  moment: Moment,
  { child, ended }: Running,
): Promise<boolean> {
  if (moment.specs !== 'stays') return false
  const ends = ended.then(() => false)
  const stays = project.mark('testing').then(() => qemusOf(project).length === 2 || ends)
  if (!(await Promise.race([ends, stays]))) return false
  child.kill('SIGKILL')
  return poll(() => processesWith(project.dir).length === 0 || undefined, { timeoutMs: GONE_MS })
}

/** False where it is gone already. */
function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch {
    return false
  }
}

/** All moments equally often, in any order. */
function* moments() {
  for (;;) yield* MOMENTS.toSorted(() => random() - 0.5)
}

test(`${ROUNDS} times kill -9 of whatever, whenever, leaves nothing`, {
  timeout: 20 * 60_000,
}, async () => {
  console.log(`KILLS_SEED=${SEED}`)
  vi.stubEnv('KILLS_BRIDGE', `dutk${crypto.randomUUID().slice(0, 8)}`)
  const rich = makeProject(SPECS, { plugin: pluginWith({ grow: isRoot }) })
  const poor = makeProject(SPECS, { plugin: pluginWith({ grow: false }) })
  const temporary = join(rich.dir, 'tmp')
  const locks = join(rich.dir, 'locks')
  mkdirSync(temporary)
  const templates = mkdtempSync('/dev/shm/dut-kills-')
  onTestFinished(() => rmSync(templates, { recursive: true }))
  vi.stubEnv('TMPDIR', temporary)
  vi.stubEnv('VITEST_DUT_TEMPLATES', templates)
  vi.stubEnv('VITEST_DUT_LOCK_DIR', locks)
  const looked = {
    ports: PORTS,
    folders: [temporary, join(rich.dir, 'run'), join(poor.dir, 'run')],
  }
  const before = await inventory(looked)

  const all: Killed[] = []
  for (const moment of moments()) {
    const where = `round ${all.length} of KILLS_SEED=${SEED}, ${moment.name}`
    const killed = await round(moment.poor ? poor : rich, moment).catch((cause) => {
      throw new Error(`${where}: ${cause}`, { cause })
    })
    // A process that was started as its parent died has no name while it ends, but still its locks.
    await expect.poll(() => heldIn(locks), { message: where }).toEqual([])
    if (killed) all.push(killed)
    if (all.length === ROUNDS) break
  }
  console.log(summary(all))

  expect(await rich.vitest('short-2').ended).toMatchObject({ status: 0 })
  for (const { dir } of [rich, poor]) {
    await sweepHost(localHost(), { base: join(dir, 'run') })
    expect(processesWith(dir)).toEqual([])
  }
  const added = async () => (await inventory(looked)).filter((line) => !before.includes(line))
  const locksOfRuns = [rich, poor].map(({ dir }) => join(dir, 'run/lock'))
  // Others on the machine may have something of it just then.
  await expect.poll(added, { timeout: 60_000, interval: 500 }).toEqual(locksOfRuns)
  expect(await heldIn(locks)).toEqual([])
  const whole = /^[0-9a-f]{16}$/
  expect(readdirSync(templates).filter((name) => !whole.test(name))).toEqual([])
  expect(readdirSync(locks).filter((name) => !/^(section|line)-/.test(name))).toEqual([])
})

/** How often each was killed, and how long it took at most until nothing of it ran. */
function summary(all: readonly Killed[]): string {
  const kinds = Object.entries(Object.groupBy(all, ({ kind }) => kind))
  return kinds
    .map(([kind, some = []]) => {
      const longest = Math.max(...some.map(({ goneMs }) => goneMs))
      return `${kind}: ${some.length} times, gone in ${longest.toFixed(0)} ms at most`
    })
    .join('; ')
}
