// Asks again and again for random parts of this machine, holds each for a moment and gives it back. Its
// argument is JSON: { seed, rounds, log, pages, cpus, names, impatient }. In the log there is a line for each
// moment from which on, and until which, it has something; a line is one write, so that the lines of several
// processes stand in the order in which it happened, and begins with its newline, so that one which its
// process was killed in ends where the next begins:
//   { pid, id, has: { pages, cpus, names, ports } }
//   { pid, id, gone: true }
import { appendFileSync } from 'node:fs'
import { localHost } from '../../src/host/local.ts'
import { admit } from '../../src/lease/admit.ts'
import type { Need } from '../../src/lease/needs.ts'
import { poll } from '../../src/wait.ts'
import { nextLine } from './process.ts'

const { seed, rounds, log, pages, cpus, names, impatient } = JSON.parse(process.argv[2] ?? '{}')
const host = localHost()
const { pid } = process
const note = (entry: object) => appendFileSync(log, `\n${JSON.stringify({ pid, ...entry })}`)

/** Numbers from 0 to below 1, the same for the same seed (mulberry32). */
let state = seed as number
function random(): number {
  state = (state + 0x6d2b79f5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}
const below = (n: number) => Math.floor(random() * n)
const some = <T>(list: readonly T[], most: number) => {
  const start = below(list.length)
  return Array.from({ length: below(most + 1) }, (_, i) => list[(start + i) % list.length] as T)
}
const moment = (ms: number) => {
  const end = performance.now() + ms
  return poll(() => (performance.now() >= end ? true : undefined), { everyMs: 1 })
}

/** One or two VMs' worth: mostly little, so that several have some at once, never more than there is. */
function fleet(): Need[] {
  const taken = some(names as string[], 2)
  const count = 1 + below(2)
  const most = random() < 0.2 ? pages / count : pages / 8
  return Array.from({ length: count }, (_, i) => ({
    dut: 'dut0',
    ...(random() < 0.6 && {
      pages: { size: '2M', bytes: (1 + below(most)) * 2 ** 21, node: 0 },
    }),
    ...(i === 0 && random() < 0.3 && { cores: { list: [cpus[below(cpus.length)] as number] } }),
    ...(i === 0 ? { names: taken } : { ports: below(3), portRange: [20_800, 20_819] }),
  }))
}

async function round(id: number): Promise<void> {
  const stop = new AbortController()
  if (impatient && random() < 0.3) moment(below(200)).then(() => stop.abort(new Error('no more')))
  const leases = await admit(host, fleet(), { signal: stop.signal, timeoutMs: 120_000 }).catch(
    (error) => {
      if (stop.signal.aborted) return []
      throw error
    },
  )
  const holdings = leases.map(({ holding }) => holding)
  note({
    id,
    has: {
      pages: holdings.reduce((sum, { pages }) => sum + (pages?.count ?? 0), 0),
      cpus: holdings.flatMap(({ cpus }) => cpus),
      names: holdings.flatMap(({ names }) => names),
      ports: holdings.flatMap(({ ports }) => ports),
    },
  })
  await moment(below(20))
  note({ id, gone: true })
  await Promise.all(leases.map((lease) => lease.release()))
}

console.log('ready')
await nextLine()
for (let id = 0; id < rounds; id++) await round(id)
console.log('done')
process.exit()
