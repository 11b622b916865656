import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { sweepLeases } from '../../../src/lease/admission/sweep.ts'
import { readCpus } from '../../../src/lease/resources/cores.ts'
import { readPages } from '../../../src/lease/resources/pages.ts'
import { poll } from '../../../src/wait.ts'
import { useApplicants } from '../../support/applicants.ts'
import { usePagesTurn } from '../../support/pages-turn.ts'
import { startProcess, type TestProcess } from '../../support/process.ts'

const { change } = usePagesTurn()
const { locks, here, files } = useApplicants()

const PAGES = 40
const started: TestProcess[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((process) => process.kill()))
})

/** Exactly so many pages are free, and what all take by turns; see take-and-give.ts. */
async function prepare(options: { rounds: number; impatient?: boolean }) {
  const { pools } = await readPages(here.host)
  const found = pools.find(({ size, node }) => size === '2M' && node === 0)
  await change(PAGES - (found?.free ?? 0))
  const log = join(locks.path, '..', 'log')
  writeFileSync(log, '')
  const cpus = (await readCpus(here.host)).slice(0, 4).map(({ cpu }) => cpu)
  const words = { ...options, log, cpus, pages: PAGES, names: ['a', 'b', 'c', 'd', 'e'] }
  const start = async (seed: number) => {
    const args = [JSON.stringify({ ...words, seed })]
    const process = startProcess('take-and-give.ts', args, { lockDir: locks.path })
    started.push(process)
    expect(await process.line()).toBe('ready')
    return process
  }
  const lines = () => readFileSync(log, 'utf8').split('\n').filter(Boolean)
  const note = (entry: Entry) => appendFileSync(log, `\n${JSON.stringify(entry)}`)
  return { start, lines, note, entries: () => read(lines()) }
}

interface Entry {
  pid: number
  id?: number
  has?: { pages: number; cpus: number[]; names: string[]; ports: number[] }
  gone?: true
  /** Written just before the process was. */
  killed?: true
}

/** What was noted; of those who are killed only before that, for it may cut their last line short. */
function read(lines: readonly string[]): Entry[] {
  const entries: Entry[] = []
  const killed: string[] = [] // how their lines begin
  for (const line of lines) {
    if (killed.some((start) => line.startsWith(start) || start.startsWith(line))) continue
    const entry: Entry = JSON.parse(line)
    entries.push(entry)
    if (entry.killed) killed.push(`{"pid":${entry.pid},`)
  }
  return entries
}

/** What was given twice; the most pages, and the most processes, that had something at once. */
function replay(entries: readonly Entry[]) {
  const held = new Map<number, NonNullable<Entry['has']>>()
  const twice: string[] = []
  let most = 0
  let together = 0
  for (const { pid, has } of entries) {
    if (has === undefined) held.delete(pid)
    else {
      for (const [other, theirs] of held) {
        for (const kind of ['cpus', 'names', 'ports'] as const) {
          for (const one of has[kind]) {
            if ((theirs[kind] as unknown[]).includes(one))
              twice.push(`${kind} ${one}: ${pid}, ${other}`)
          }
        }
      }
      held.set(pid, has)
    }
    const pages = [...held.values()].reduce((sum, { pages }) => sum + pages, 0)
    if (pages > PAGES) twice.push(`${pages} pages`)
    most = Math.max(most, pages)
    together = Math.max(together, held.size)
  }
  return { twice, most, together, left: [...held.keys()] }
}

const seeds = (count: number) => {
  const first = Math.floor(Math.random() * 2 ** 31)
  return Array.from({ length: count }, (_, i) => first + i)
}

test.each([
  ['patient', false],
  ['that lose patience', true],
])(
  'eight processes %s, thirty rounds each: nothing twice, all get through',
  async (_, impatient) => {
    const { start, entries } = await prepare({ rounds: 30, impatient })
    const mine = seeds(8)
    const processes = await Promise.all(mine.map(start))
    for (const process of processes) process.say('now')
    const ends = await Promise.all(processes.map(({ exited }) => exited))
    const what = `seeds from ${mine[0]}`
    expect(ends, what).toEqual(mine.map(() => ({ code: 0, signal: null })))
    const { twice, most, together, left } = replay(entries())
    expect(twice, what).toEqual([])
    expect(left, what).toEqual([])
    expect(most, what).toBeGreaterThan(PAGES / 2)
    expect(together, what).toBeGreaterThan(1)
    expect(entries(), what).toHaveLength(8 * 30 * 2)
    expect(await files(), what).toEqual([])
  },
  300_000,
)

test('processes that are killed at any moment take nothing with them', async () => {
  const { start, lines, note, entries } = await prepare({ rounds: 100_000 })
  const mine = seeds(100)
  const begin = async () => {
    const process = await start(mine.pop() as number)
    process.say('now')
    return process
  }
  const alive = await Promise.all(Array.from({ length: 4 }, begin))
  for (let kills = 0; kills < 20; kills++) {
    const enough = lines().length + Math.floor(Math.random() * 20)
    await poll(() => (lines().length >= enough ? true : undefined), {
      timeoutMs: 60_000,
      everyMs: 1,
    })
    const [victim] = alive.splice(Math.floor(Math.random() * alive.length), 1)
    if (victim === undefined) throw new Error('nobody is left')
    note({ pid: victim.pid, killed: true })
    await victim.kill()
    alive.push(await begin())
  }
  for (const { pid } of alive) note({ pid, killed: true })
  await Promise.all(alive.map((process) => process.kill()))
  const { twice, left } = replay(entries())
  const what = `seeds up to ${mine.at(-1)}`
  expect(twice, what).toEqual([])
  expect(left, what).toEqual([])
  await sweepLeases(here.host)
  expect(await files()).toEqual([])
}, 300_000)
