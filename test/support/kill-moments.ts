import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { localHost } from '../../src/host/local.ts'
import { admit } from '../../src/lease/admission/admit.ts'
import { sweepLeases } from '../../src/lease/admission/sweep.ts'
import { readLedger } from '../../src/lease/ledger/records.ts'
import { changePages, poolFolder, readPages } from '../../src/lease/resources/pages.ts'
import { pruneTemplates } from '../../src/vm/template/store.ts'
import { poll } from '../../src/wait.ts'
import { processesWith, withoutForks } from './processes.ts'
import { HEAD, type Project } from './project.ts'

/** Only root can have pages added and bridges made. */
export const isRoot = process.getuid?.() === 0
const PAGES = 64 // of 2M, which are 128M

const suite = (body: string) => `${HEAD}
import { link, tap, userNet } from 'vitest-dut'
const test = dutTest({
  vms: 2,
  vm: ({ index }) => ({
    memory: { size: '128M', hugepages: ${isRoot} && index === 0 && '2M' },
    devices: [
      link('lan'),
      userNet({ forward: [22] }),
      ...(${isRoot} ? [tap({ bridge: process.env.KILLS_BRIDGE })] : []),
    ],
  }),
})
const sleep = (vms) => Promise.all(vms.map((vm) => vm.cmd('sleep 10000', '', '1h')))
${body}`

const SHORT = `test('is short', ({ vms }) => {})`

export const SPECS = {
  'stays.spec.ts': suite(`test('stays', { timeout: 0 }, async ({ vms }) => {
  mark('testing', 'yes')
  await sleep(vms)
})`),
  'prints.spec.ts': suite(`test('prints', { timeout: 0 }, async ({ vms }) => {
  mark('testing', 'yes')
  await Promise.all(vms.map((vm) => vm.exec('yes', { timeout: '1h' })))
})`),
  // On the host: a child that ignores the terminal's end.
  'spawns.spec.ts': suite(`test('spawns', { timeout: 0 }, async ({ dut, vms }) => {
  await dut.spawn("(trap '' HUP; sleep 10000 & wait) & echo up; wait", { prompt: 'up' })
  mark('testing', 'yes')
  await sleep(vms)
})`),
  'short-1.spec.ts': suite(`${SHORT}\ntest.afterAll(() => { mark('afterAll', 'yes') })`),
  'short-2.spec.ts': suite(SHORT),
}
export const MARKS = ['worker', 'testing', 'afterAll']

/** A moment of a run in which something is killed. */
export interface Moment {
  name: string
  /** Which specs are run. */
  specs: string
  /** True: the run may not have pages added. */
  poor?: boolean
  /** Whether a test has begun, which then fails when its VM dies. */
  testing?: boolean
  /** Resolves in that moment; within so many milliseconds after it, at random, the kill is to come. */
  reach(project: Project): Promise<unknown>
  withinMs: number
  /** Before the run starts; what it returns, after the kill. */
  prepare?(): Promise<() => Promise<void>>
}

const testing = (project: Project) => project.mark('testing')

export const MOMENTS: readonly Moment[] = [
  { name: 'early in the boot', specs: 'stays', reach: vmsAreThere, withinMs: 200 },
  { name: 'late in the boot', specs: 'stays', reach: vmsAreThere, withinMs: 3000 },
  { name: 'first command', specs: 'stays', testing: true, reach: testing, withinMs: 50 },
  { name: 'output of exec', specs: 'prints', testing: true, reach: testing, withinMs: 200 },
  { name: 'program on the host', specs: 'spawns', testing: true, reach: testing, withinMs: 50 },
  {
    name: 'teardown',
    specs: 'short-1',
    reach: (project) => project.mark('afterAll'),
    withinMs: 60,
  },
  { name: 'between two suites', specs: 'short', reach: suiteIsOver, withinMs: 300 },
  { name: 'closing', specs: 'short-1', reach: suiteIsOver, withinMs: 20 },
  {
    name: 'making of a template',
    specs: 'stays',
    prepare: dropTemplates,
    reach: isBeingMade,
    withinMs: 4000,
  },
  ...(isRoot ? momentsOfPages() : []),
]

/** The tests' own. */
const templates = () => process.env.VITEST_DUT_TEMPLATES ?? ''

async function dropTemplates() {
  await pruneTemplates(localHost(), templates())
  return async () => {}
}

function isBeingMade() {
  const made = () => readdirSync(templates()).some((name) => name.endsWith('.draft')) || undefined
  return poll(made, { timeoutMs: 60_000, everyMs: 5 })
}

function momentsOfPages(): Moment[] {
  return [
    {
      name: 'wait for pages',
      specs: 'stays',
      poor: true,
      prepare: takeAllPages,
      reach: () => inLedger('wishes'),
      withinMs: 200,
    },
    {
      name: 'section of the ledger',
      specs: 'stays',
      prepare: holdUpPages,
      reach: () => inLedger('leases'),
      withinMs: 20,
    },
  ]
}

export function qemusOf(project: Project): number[] {
  const all = processesWith(project.dir).filter(({ command }) => command.includes('-kernel'))
  return withoutForks(all).map(({ pid }) => pid)
}

function vmsAreThere(project: Project) {
  return poll(() => qemusOf(project).length > 0 || undefined, { timeoutMs: 60_000 })
}

/** All of the first suite is gone, its folder last. */
async function suiteIsOver(project: Project): Promise<void> {
  await project.mark('afterAll')
  const folders = () =>
    project.runFolders().flatMap((run) => {
      const entries = readdirSync(join(project.dir, 'run', run), { withFileTypes: true })
      return entries.filter((entry) => entry.isDirectory())
    })
  await poll(() => folders().length === 0 || undefined, { timeoutMs: 60_000, everyMs: 1 })
}

/** The run holds something of the host, or waits for it. */
async function inLedger(what: 'leases' | 'wishes'): Promise<void> {
  const host = localHost()
  const mine = async () => {
    const records = (await readLedger(host))[what]
    return records.some(({ holder }) => holder.pid !== process.pid) || undefined
  }
  await poll(mine, { timeoutMs: 60_000, everyMs: 5 })
}

/** There are enough pages for a VM, but all are promised to us. */
async function takeAllPages() {
  const host = localHost()
  const pool = { size: '2M', node: 0 } as const
  await sweepLeases(host) // pages that were added for those killed before are not to be counted on
  await changePages(host, pool, PAGES)
  const free = (await readPages(host)).pools.find(({ size }) => size === pool.size)?.free ?? 0
  const [lease] = await admit(host, [{ dut: 'kills', pages: { ...pool, bytes: free * 2 ** 21 } }])
  return async () => {
    await lease?.release()
    await changePages(host, pool, -PAGES)
  }
}

/** Whoever has pages added comes to a halt in the middle of it. */
async function holdUpPages() {
  const host = localHost()
  const nodes = await host.fileFacts(poolFolder('2M', { node: 0 }))
  const lock = await host.lock(poolFolder('2M', nodes ? { node: 0 } : {}))
  return () => lock.release()
}
