import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { readLedger } from '../../src/lease/ledger/records.ts'
import { touchedPages } from '../../src/lease/resources/memory.ts'
import { readPages } from '../../src/lease/resources/pages.ts'
import { poll } from '../../src/wait.ts'
import { pages, useApplicants } from '../support/applicants.ts'
import { usePagesTurn } from '../support/pages-turn.ts'
import { startProcess } from '../support/process.ts'
import { processesWith, withoutForks } from '../support/processes.ts'
import { HEAD, makeProject, type Project } from '../support/project.ts'

// A machine on which there are huge pages for a few VMs only, and nobody else has any.
const { change } = usePagesTurn()
const { locks, here, apply, untilQueued, files } = useApplicants()

const PAGES_OF_VM = 64
const pool = async () => {
  const { pools } = await readPages(here.host)
  const found = pools.find(({ size, node }) => size === '2M' && node === 0)
  if (found === undefined) throw new Error('this machine has no huge pages')
  return found
}
const free = async (count: number) => change(count - (await pool()).free)

afterEach(async () => {
  expect(await files()).toEqual([])
})

/** A suite of VMs with huge pages and a forwarded port each, which are there and answer. */
const suite = (options: string, vm = '') => `${HEAD}
import { userNet } from 'vitest-dut'
const test = dutTest({
  ...${options},
  vm: { memory: { size: '128M', hugepages: '2M' }, devices: [userNet({ forward: [22] })], ${vm} },
})
test('they answer', async ({ vms }) => {
  for (const vm of vms) expect((await vm.exec('echo here')).stdout).toBe('here\\n')
})
`

async function passes(project: Project, ...args: string[]): Promise<string> {
  const { status, output } = await project.vitest(...args).ended
  // Why there is no KVM is told in QEMU's words.
  expect(output.replaceAll(/^.* TCG \(slow\).*$/gm, '')).not.toMatch(/failed|cannot|Error/)
  expect(status).toBe(0)
  expect(project.processes()).toEqual([])
  expect(project.runFolders()).toEqual([])
  return output
}

interface Sample {
  /** Huge pages that are promised and not taken, and that QEMUs have. */
  pages: number
  /** Ports that are leased, and ports that QEMUs forward: each as often as that is. */
  leased: number[]
  forwarded: number[]
}

/** What the ledger and the kernel say at one moment. */
async function sample(projects: readonly Project[]): Promise<Sample> {
  const { leases } = await readLedger(here.host)
  const counts = leases.map(async ({ holding, qemu }) => {
    if (qemu === undefined) return holding.pages?.count ?? 0
    return (await touchedPages(here.host, qemu)) / 2 ** 21
  })
  const all = projects.flatMap(({ dir }) => processesWith(dir))
  const qemus = all.filter(({ command }) => /^\S*qemu-system/.test(command))
  const forwarding = withoutForks(qemus) // one may be just starting `cat`, to read a template
  return {
    pages: (await Promise.all(counts)).reduce((sum, count) => sum + count, 0),
    leased: leases.flatMap(({ holding }) => holding.ports),
    forwarded: forwarding.flatMap(({ command }) =>
      [...command.matchAll(/hostfwd=tcp:127\.0\.0\.1:(\d+)/g)].map(([, port]) => Number(port)),
    ),
  }
}

/** Looks again and again until `end` has come. */
async function watch(projects: readonly Project[], end: Promise<unknown>): Promise<Sample[]> {
  const samples: Sample[] = []
  let ended = false
  end.finally(() => {
    ended = true
  })
  const look = async () => {
    samples.push(await sample(projects))
    return ended ? true : undefined
  }
  await poll(look, { everyMs: 20 })
  return samples
}

const twice = (ports: readonly number[]) => ports.filter((port, i) => ports.indexOf(port) < i)

test('two runs of three suites of two VMs pass where there are pages for three VMs', async () => {
  await free(3 * PAGES_OF_VM)
  const specs = Object.fromEntries(
    ['a', 'b', 'c'].map((name) => [`${name}.spec.ts`, suite('{ vms: 2 }')]),
  )
  const projects = [makeProject(specs), makeProject(specs)]
  const runs = Promise.all(projects.map((project) => passes(project, '--maxWorkers=3')))
  const samples = await watch(projects, runs)
  for (const output of await runs) expect(output).toMatch(/Tests {2}3 passed/)
  expect(samples.flatMap(({ leased }) => twice(leased))).toEqual([])
  expect(samples.flatMap(({ forwarded }) => twice(forwarded))).toEqual([])
  expect(Math.max(...samples.map((each) => each.pages))).toBeLessThanOrEqual(3 * PAGES_OF_VM)
  // What is looked at has been seen: both VMs of a suite, and that they do not come and go at once.
  expect(Math.max(...samples.map((each) => each.pages))).toBeGreaterThanOrEqual(2 * PAGES_OF_VM)
  expect(Math.max(...samples.map((each) => each.leased.length))).toBeGreaterThanOrEqual(2)
  expect(Math.max(...samples.map((each) => each.forwarded.length))).toBeGreaterThanOrEqual(2)
}, 300_000)

test('two fleets that each need more than half of the pages get through, twenty times', async () => {
  const count = 60
  await free(count)
  const log = join(locks.path, '..', 'log')
  writeFileSync(log, '')
  // Of four VMs with 15 % each: were they given one by one, both fleets could stand at three VMs, and
  // the rest would be too little for either.
  const start = () => startProcess('take-turns.ts', [4, 0.15 * count, log], { lockDir: locks.path })
  const fleets = [start(), start()]
  try {
    expect(await Promise.all(fleets.map((fleet) => fleet.line()))).toEqual(['ready', 'ready'])
    for (let round = 0; round < 20; round++) {
      for (const fleet of fleets) fleet.say('now')
      expect(await Promise.all(fleets.map((fleet) => fleet.line()))).toEqual(['done', 'done'])
    }
  } finally {
    await Promise.all(fleets.map((fleet) => fleet.kill('SIGTERM')))
  }
  const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1)
  const entries = lines.map((line): [pid: number, pages: number] => JSON.parse(line))
  expect(entries).toHaveLength(2 * 2 * 20)
  const mine = new Map<number, number>()
  for (const [pid, has] of entries) {
    mine.set(pid, has)
    expect([...mine.values()].reduce((sum, n) => sum + n)).toBeLessThanOrEqual(count)
  }
}, 300_000)

test('two runs whose fleets each need more than half of the pages pass, three times', async () => {
  await free(Math.floor((2 * PAGES_OF_VM) / 0.6))
  for (let round = 0; round < 3; round++) {
    const projects = [1, 2].map(() => makeProject({ 'a.spec.ts': suite('{ vms: 2 }') }))
    await Promise.all(projects.map((project) => passes(project)))
  }
}, 300_000)

test('a run shows whom it waits for, and the wait is in no timeout', async () => {
  await free(100)
  const owner = { run: 'r1', suite: 'other.spec.ts' }
  const holder = apply([pages(60, 'vm7')], { owner })
  await holder.has()
  const bootTimeoutMs = 15_000
  const project = makeProject({ 'a.spec.ts': suite(`{ bootTimeout: ${bootTimeoutMs} }`) })
  const run = passes(project, '--testTimeout=5000', '--hookTimeout=5000')
  await untilQueued(1)
  const queuedAt = performance.now()
  const longEnough = () => (performance.now() - queuedAt > bootTimeoutMs ? true : undefined)
  await Promise.race([run, poll(longEnough, { timeoutMs: 60_000 })])
  await holder.giveBack()
  const output = await run
  expect(output).toMatch(
    /a\.spec\.ts {2}dut0 {2}waits for the host: vm0 needs 64 pages of 2M on node 0, 40 free; 60 pages promised to vm7 on dut0 of root \(other\.spec\.ts, .* s\)/,
  )
  expect(output).toMatch(/a\.spec\.ts {2}dut0 {2}1\/1 ready/)
}, 120_000)
