import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { InfrastructureError, UsageError } from '../../src/errors.ts'
import { Dut, type DutOptions } from '../../src/fleet/dut.ts'
import { localHost } from '../../src/host/local.ts'
import type { Holding } from '../../src/lease/resources/needs.ts'
import { useLockDir } from '../support/lock-dir.ts'
import { startProcess } from '../support/process.ts'
import { withScope } from '../support/with-scope.ts'

const locks = useLockDir()
/** So few that two who would not look would meet soon; not of the default range, which others ask for. */
const ports = [24_120, 24_127] as const
const notes: string[] = []
let dut: Dut
const PATIENCE = { timeout: 30_000 }

async function openDut(options: Partial<DutOptions> = {}): Promise<Dut> {
  const dir = await mkdtemp(join(tmpdir(), 'lease-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return new Dut({
    ...{ name: 'dut0', host: localHost(), dir, bootTimeoutMs: 1000, ports, ...options },
    onProgress: (progress) => void notes.push('line' in progress ? progress.line : ''),
  })
}
beforeEach(async () => {
  notes.length = 0
  dut = await openDut()
})
afterEach(() => dut.close())

/** A suite of another process. */
function peer(kind: string, wanted: unknown, options: object = {}) {
  const args = [kind, JSON.stringify(wanted), JSON.stringify(options)]
  const process = startProcess('lease-peer.ts', args, { lockDir: locks.path })
  onTestFinished(() => process.kill())
  const holding = async (): Promise<Holding> => JSON.parse(await process.line())
  const tell = async (order: string) => {
    process.say(order)
    expect(await process.line()).toBe('done')
  }
  return { ...process, holding, tell }
}

/** What is in the ledger; a file of an owner who was killed stays until a sweep. */
const records = async () =>
  (await readdir(locks.path)).filter((name) => /^(lease|wish)@/.test(name))

describe('ports', () => {
  test('are in the range of the DUT, and nobody’s beside', async () => {
    const { holding, release } = await dut.lease('ports', 3)
    expect(new Set(holding.ports).size).toBe(3)
    const other = await peer('ports', 5, { ports }).holding()
    const all = [...holding.ports, ...other.ports].sort()
    expect(all).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((i) => ports[0] + i))
    const more = dut.lease('ports', 1)
    await expect(more).rejects.toThrow(InfrastructureError)
    await expect(more).rejects.toThrow(
      /needs 1 host port of 24120 to 24127, 0 free: 8 leased to other VMs/,
    )
    await release()
    expect((await dut.lease('ports', 3)).holding.ports.toSorted()).toEqual(holding.ports.toSorted())
  })
})

describe.runIf(availableParallelism() > 1)('cores', () => {
  test('of their own: those who ask for more wait, and see whom for', async () => {
    const { holding } = await dut.lease('cores', 1)
    expect(holding.cpus.length).toBeGreaterThan(0)
    const other = peer('cores', holding.cpus)
    expect(await other.line()).toMatch(
      new RegExp(`needs cpu ${holding.cpus.join(', ?')}.*promised to a test on dut0`),
    )
    await dut.close()
    expect((await other.holding()).cpus).toEqual(holding.cpus)
  })

  test('by their numbers', async () => {
    const { cpus } = (await dut.lease('cores', 1)).holding
    const [mine = -1] = cpus
    const late = await openDut({ admission: { timeoutMs: 100 } })
    await expect(late.lease('cores', [mine])).rejects.toThrow(`needs cpu ${mine}, `)
    await dut.close()
    expect((await late.lease('cores', [mine])).holding.cpus).toContain(mine)
    await late.close()
  })

  test.each([4000, [4095]])('that this host does not have: %j', async (wanted) => {
    await expect(dut.lease('cores', wanted)).rejects.toThrow(UsageError)
    await expect(dut.lease('cores', wanted)).rejects.toThrow(/there are 0-\d+ on node 0/)
  })
})

describe('a name', () => {
  test('is one process’s at a time; who waits sees whose it is', async () => {
    const other = peer('name', 'generator')
    expect((await other.holding()).names).toEqual(['generator'])
    const waiting = dut.lease('name', 'generator')
    await expect.poll(() => notes, PATIENCE).not.toEqual([])
    expect(notes[0]).toMatch(
      /^waits for the host: a test .*needs generator; .*promised to a test on peer .*peer\.spec\.ts, /,
    )
    await other.tell('release')
    expect((await waiting).holding.names).toEqual(['generator'])
    await dut.close()
    expect(await records()).toEqual([])
  })

  test('another one is nobody’s concern', async () => {
    await peer('name', 'generator').holding()
    const names = ['Generator', 'generator ', 'a/../b', 'ü "\n'.trim(), '$(false)', '__proto__']
    const leases = await Promise.all(names.map((name) => dut.lease('name', name)))
    expect(leases.flatMap(({ holding }) => holding.names)).toEqual(names)
  })

  test('that is not free in time: the error names who has it', async () => {
    const other = peer('name', 'generator')
    await other.holding()
    const hasty = await openDut({ admission: { timeoutMs: 200 } })
    const error = await hasty.lease('name', 'generator').catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(/^dut0: a test .*needs generator; .*peer\.spec\.ts/)
    expect(error.message).toMatch(/ \(after \d+ ms\)\n→ `npx vitest-dut ps` shows who has what/)
    await other.kill()
    await hasty.lease('name', 'generator')
    await hasty.close()
    expect(await records()).toEqual([])
  })
})

describe('is given back', () => {
  const take = () => dut.lease('name', 'generator')
  const stop = new AbortController().signal

  test.each<[string, () => Promise<unknown>]>([
    [
      'when it is released, once or twice',
      async () => {
        const { release } = await take()
        await Promise.all([release(), release()])
        await release()
      },
    ],
    ['at the end of the test that asked', () => withScope(stop, () => take().then(() => {}))],
    [
      'at the end of a test that fails',
      () =>
        withScope(stop, () => take().then(() => Promise.reject(new Error('no')))).catch(() => {}),
    ],
    [
      'at the end of its block',
      async () => {
        await using _lease = await take()
      },
    ],
    ['with the DUT', () => take().then(() => dut.close())],
    [
      'to another who waits for it in the same suite',
      async () => {
        const first = await take()
        const second = take()
        await first.release()
        await (await second).release()
      },
    ],
  ])('%s', async (_, use) => {
    await use()
    expect(await records()).toEqual([])
    const late = await openDut({ admission: { timeoutMs: 0 } })
    await late.lease('name', 'generator')
    await late.close()
  })

  test.each(['close', 'release'])('by another process: %s', async (order) => {
    const other = peer('name', 'generator')
    await other.holding()
    const waiting = take()
    await other.tell(order)
    await waiting
  })

  test('when the process that has it is killed', async () => {
    const other = peer('name', 'generator')
    await other.holding()
    const waiting = take()
    await expect.poll(() => notes, PATIENCE).not.toEqual([])
    await other.kill('SIGKILL')
    await waiting
    await dut.close()
    expect(await records()).toEqual([])
  })

  test('but not by a suite that ends beside it', async () => {
    const beside = await openDut({ admission: { timeoutMs: 100 } })
    await take()
    await beside.lease('name', 'another')
    await beside.close()
    await expect(
      (await openDut({ admission: { timeoutMs: 100 } })).lease('name', 'generator'),
    ).rejects.toThrow('needs generator')
  })
})

test('a wait ends with its test, and leaves nothing', async () => {
  await peer('name', 'generator').holding()
  const before = await records()
  const stop = new AbortController()
  const waiting = withScope(stop.signal, () => dut.lease('name', 'generator'))
  waiting.catch(() => {})
  await expect
    .poll(async () => (await records()).some((name) => /^wish/.test(name)), PATIENCE)
    .toBe(true)
  stop.abort(new Error('the test is over'))
  await expect(waiting).rejects.toThrow('the test is over')
  await expect.poll(records, PATIENCE).toEqual(before)
})

test.each<[string, unknown, string]>([
  ['pages', 3, `lease: "pages" is unknown\n→ 'ports', 'cores' or 'name'`],
  ['', 3, `lease: "" is unknown`],
  ['toString', 3, `lease: "toString" is unknown`],
  ['ports', 0, `lease('ports'): 0 is not a whole number from 1 to 1000`],
  ['ports', '3', `lease('ports'): "3" is not a whole number`],
  ['ports', undefined, `lease('ports'): undefined is not a whole number`],
  ['ports', [20_000], `lease('ports'): [20000] is not a whole number`],
  ['cores', 0, `lease('cores'): 0 is not a whole number from 1 to 4096`],
  ['cores', 1.5, `lease('cores'): 1.5 is not a whole number`],
  ['cores', [], `lease('cores'): [] names no cpu`],
  ['cores', [0, -1], `lease('cores'): -1 is not a whole number from 0 to 4095`],
  ['cores', [0, 0], `cpu 0 is named twice`],
  ['name', '', `lease('name'): "" is not a name`],
  ['name', 7, `lease('name'): 7 is not a name`],
  ['name', null, `lease('name'): null is not a name`],
])('lease(%j, %j) is refused', async (kind, wanted, message) => {
  const asked = dut.lease(kind as 'name', wanted as string)
  await expect(asked).rejects.toThrow(UsageError)
  await expect(asked).rejects.toThrow(message)
})
