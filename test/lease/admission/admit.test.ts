import { setMaxListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { InfrastructureError, UsageError } from '../../../src/errors.ts'
import type { Host } from '../../../src/host/host.ts'
import { admit } from '../../../src/lease/admission/admit.ts'
import { readLedger } from '../../../src/lease/ledger/records.ts'
import { readPages } from '../../../src/lease/resources/pages.ts'
import { memory, name, pages, useApplicants } from '../../support/applicants.ts'
import { usePagesTurn } from '../../support/pages-turn.ts'

const { change } = usePagesTurn()
const { here, apply, untilQueued, files } = useApplicants()

const pool = async () => {
  const { pools } = await readPages(here.host)
  const found = pools.find(({ size, node }) => size === '2M' && node === 0)
  if (found === undefined) throw new Error('this machine has no huge pages')
  return found
}
/** For one test, exactly so many pages are free. */
const free = async (count: number) => change(count - (await pool()).free)

describe('all or none', () => {
  test('of what cannot be had at once, nobody has a part', async () => {
    const b = apply([name('b')])
    await b.has()
    const both = apply([name('a'), name('b')])
    expect((await untilQueued(1)).wishes[0]?.lacks).toEqual(['name b'])
    const a = apply([name('a')])
    await a.has()
    await b.giveBack()
    expect(await both.waits('a test needs a; it', 'needs b')).toMatch(
      /^waits for the host: a test needs a; it is promised to a test on dut0 of root \(process \d+, /,
    )
    const { leases } = await readLedger(here.host)
    expect(leases.map(({ holding }) => holding.names)).toEqual([['a']])
    await a.giveBack()
    expect((await both.has()).map(({ names }) => names)).toEqual([['a'], ['b']])
  })

  test('it is given back whole, and nothing stays', async () => {
    const mine = await admit(here.host, [name('a'), memory(16), { dut: 'dut0', ports: 2 }])
    expect(await files()).toHaveLength(4)
    await mine[1]?.release()
    expect(await files()).toHaveLength(3)
    await Promise.all(mine.map((lease) => lease.release()))
    await mine[0]?.release()
    expect(await files()).toEqual([])
  })

  test('nothing is needed, nothing is asked', async () => {
    const untouched = told(here.host, () => expect.unreachable())
    expect(await admit(untouched, [])).toEqual([])
  })
})

describe('first come, first served', () => {
  test('what waits is not overtaken by what wants the same, only by what wants something else', async () => {
    await free(100)
    const holder = apply([pages(60)])
    await holder.has()
    const large = apply([pages(80)])
    await untilQueued(1)
    const small = apply([pages(10)])
    expect(await small.waits()).toMatch(
      /root \(process \d+, .*\) has waited for pages 2M for longer; 60 pages promised/,
    )
    const other = apply([name('x'), memory(1)])
    await other.has()
    await holder.giveBack()
    await Promise.all([large.has(), small.has()])
  })

  test('each in the order in which they asked', async () => {
    const mine = await admit(here.host, [name('a')])
    const waiting = []
    for (let i = 0; i < 5; i++) {
      waiting.push(apply([name('a')]))
      await untilQueued(i + 1)
    }
    await mine[0]?.release()
    const order: number[] = []
    const turns = waiting.map(async (applicant, i) => {
      await applicant.has()
      order.push(i)
      await applicant.giveBack()
    })
    await Promise.all(turns)
    expect(order).toEqual([0, 1, 2, 3, 4])
  })

  test('what was lacking once is kept for who waits, also while something else is lacking', async () => {
    const x = apply([name('x')])
    await x.has()
    const both = apply([name('x', 'y')])
    await untilQueued(1)
    const y = apply([name('y')])
    await y.has()
    await x.giveBack()
    expect(await both.waits(': a test needs y', 'needs x')).toMatch(
      /needs y; it is promised to a test/,
    )
    const late = apply([name('x')])
    expect(await late.waits()).toMatch(/has waited for name x for longer/)
    await y.giveBack()
    await both.has()
    await both.giveBack()
    await late.has()
  })
})

describe('what is not given', () => {
  test('in time: the error says what, how much there is, and who has it', async () => {
    await free(100)
    const holder = apply([pages(60, 'vm7')], { owner: { run: 'r', suite: 'a.spec.ts' } })
    await holder.has()
    const waiting = admit(here.host, [pages(41)], { timeoutMs: 200 })
    const error = await waiting.catch((reason) => reason)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(
      /^dut0: vm0 needs 41 pages of 2M on node 0, 40 free; 60 pages promised to vm7 on dut0 of root \(a\.spec\.ts, .*s\)/,
    )
    expect(error.hint).toContain('npx vitest-dut ps')
    expect(error.elapsedMs).toBeGreaterThanOrEqual(199)
    await holder.giveBack()
    expect(await files()).toEqual([])
  })

  test('ever: it is told at once, whatever others have now', async () => {
    await free(20)
    const { total, free: left } = await pool()
    const holder = await admit(here.host, [pages(left)])
    const cases: [Parameters<typeof admit>[1], RegExp, RegExp][] = [
      [
        [pages(total), pages(1)],
        /needs 1 pages of 2M on node 0, 0 free/,
        /root: echo \d+ >\S+2048kB\/nr_hugepages$/,
      ],
      [[memory(2 ** 30)], /needs 1073741824M of memory, \d+M are available/, /overcommit/],
      [[name('a'), name('a')], /needs a/, /only one/],
      [
        [
          { dut: 'dut0', cores: { list: [0] } },
          { dut: 'dut0', cores: { list: [0] } },
        ],
        /cpu 0/,
        /pin/,
      ],
    ]
    for (const [needs, message, hint] of cases) {
      const error = await admit(here.host, needs).catch((reason) => reason)
      expect(error).toBeInstanceOf(InfrastructureError)
      expect(error.message).toMatch(message)
      expect(error.message).toContain('even with nobody else on the host')
      expect(error.hint).toMatch(hint)
    }
    const absent = { dut: 'dut0', cores: { list: [4000] } }
    await expect(admit(here.host, [absent])).rejects.toThrow(UsageError)
    await holder[0]?.release()
    expect(await files()).toEqual([])
  })

  test('to who stops waiting: their place is free at once', async () => {
    const holder = apply([name('a')])
    await holder.has()
    const stop = new AbortController()
    const waiting = admit(here.host, [name('a')], { signal: stop.signal })
    await untilQueued(1)
    stop.abort(new Error('no more'))
    await expect(waiting).rejects.toThrow('no more')
    await holder.giveBack()
    expect(await files()).toEqual([])
  })

  // Each thing that is done to the host is a moment at which somebody may lose patience.
  test('to who stops at whatever moment, and nothing stays of it', async () => {
    await free(10)
    const needs = [pages(15), { ...name('a'), ports: 1 }]
    let granted = 0
    let stopAt = 0
    for (let stopped = true; stopped; ) {
      const stop = new AbortController()
      setMaxListeners(0, stop.signal)
      stopAt += 1
      let moments = 0
      const tell = () => {
        moments += 1
        if (moments === stopAt) stop.abort(new Error('no more'))
      }
      const options = { signal: stop.signal, grow: true }
      const outcome = await admit(told(here.host, tell), needs, options).catch((error) => error)
      stopped = stop.signal.aborted
      if (Array.isArray(outcome)) {
        granted += 1
        expect(await pool()).toMatchObject({ free: 15 })
        await Promise.all(outcome.map((lease) => lease.release()))
      } else expect(outcome.message).toBe('no more')
      await expect.poll(files, { timeout: 10_000 }).toEqual([])
      expect(await pool()).toMatchObject({ free: 10 })
    }
    expect(stopAt).toBeGreaterThan(20)
    expect(granted).toBeGreaterThan(10)
  })

  test('to who stops just when it is their turn, and nothing stays of it', async () => {
    let late = 0
    let stopAt = 0
    for (let stopped = true; stopped; ) {
      const [mine] = await admit(here.host, [name('a')])
      const stop = new AbortController()
      setMaxListeners(0, stop.signal)
      stopAt += 1
      let moments = Number.NEGATIVE_INFINITY
      const tell = () => {
        moments += 1
        if (moments === stopAt) stop.abort(new Error('no more'))
      }
      const outcome = admit(told(here.host, tell), [{ ...name('a'), ports: 1 }], {
        signal: stop.signal,
      }).catch((error) => error.message)
      await untilQueued(1)
      moments = 0
      await mine?.release()
      const leases = await outcome
      stopped = stop.signal.aborted
      if (Array.isArray(leases)) await Promise.all(leases.map((lease) => lease.release()))
      else {
        expect(leases).toBe('no more')
        late += 1
      }
      expect(await files()).toEqual([])
    }
    expect(late).toBeGreaterThan(8)
  })
})

/** The same host; `tell` is called before each thing that it is asked. */
function told(host: Host, tell: () => void): Host {
  return new Proxy(host, {
    get: (_, key) => {
      const member = host[key as keyof Host]
      if (typeof member !== 'function') return member
      return (...args: unknown[]) => {
        tell()
        return (member as (...args: unknown[]) => unknown)(...args)
      }
    },
  })
}
