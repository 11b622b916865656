import { chmod } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Host } from '../../../src/host/host.ts'
import { admit } from '../../../src/lease/admission/admit.ts'
import type { GrantedLease } from '../../../src/lease/admission/grant.ts'
import { sweepLeases } from '../../../src/lease/admission/sweep.ts'
import { readCpus } from '../../../src/lease/resources/cores.ts'
import type { Need } from '../../../src/lease/resources/needs.ts'
import { readPages } from '../../../src/lease/resources/pages.ts'
import { AS_NOBODY, name, pages, useApplicants } from '../../support/applicants.ts'
import { type PageUser, usePages } from '../../support/page-user.ts'
import { usePagesTurn } from '../../support/pages-turn.ts'

const { change } = usePagesTurn()
const { locks, here, apply, untilQueued, files } = useApplicants()

const pool = async () => {
  const { pools } = await readPages(here.host)
  const found = pools.find(({ size, node }) => size === '2M' && node === 0)
  if (found === undefined) throw new Error('this machine has no huge pages')
  return found
}
/** For one test, exactly so many pages are free. */
const free = async (count: number) => change(count - (await pool()).free)

async function promised(count: number, options = {}): Promise<GrantedLease> {
  const [lease] = await admit(here.host, [pages(count)], { timeoutMs: 5000, ...options })
  return lease as GrantedLease
}
/** What somebody hears who asks for so many and does not wait. */
const refusal = (count: number, host = here.host) =>
  admit(host, [pages(count)], { timeoutMs: 1 }).then(
    () => expect.unreachable('it was promised twice'),
    (error: Error) => error.message,
  )
async function used(lease: GrantedLease): Promise<PageUser> {
  const user = await usePages(here.host, lease)
  onTestFinished(() => user.kill().catch(() => {}))
  return user
}

describe('huge pages are promised once', () => {
  test('before their QEMU has them, when it has, and when it is gone', async () => {
    await free(100)
    const mine = await promised(60)
    const others = async () => {
      expect(await refusal(41)).toMatch(
        /needs 41 pages of 2M on node 0, \d+ free; 60 pages promised/,
      )
      await (await promised(40)).release()
    }
    await others()
    const qemu = await used(mine)
    expect((await pool()).free).toBe(40)
    await mine.settle(qemu.pid)
    await others()
    await qemu.kill()
    expect((await pool()).free).toBe(100)
    await others()
    await mine.release()
    await (await promised(100)).release()
  })

  test('also to somebody who looks while QEMU takes them', async () => {
    await free(64)
    const mine = await promised(64)
    let qemu: PageUser | undefined
    const slow: Host = {
      ...here.host,
      readShared: async (...args) => {
        if (qemu === undefined) {
          qemu = await used(mine)
          await mine.settle(qemu.pid)
        }
        return here.host.readShared(...args)
      },
    }
    expect(await refusal(1, slow)).toMatch(/needs 1 pages of 2M on node 0, 0 free/)
  })

  test('not those that leave with whoever they were added for', async () => {
    await free(10)
    const mine = await promised(30, { grow: true })
    const qemu = await used(mine)
    await mine.settle(qemu.pid)
    await qemu.kill()
    expect((await pool()).free).toBe(30)
    const waiter = apply([pages(10)])
    await untilQueued(1)
    await mine.release()
    await waiter.has()
    expect((await pool()).free).toBe(10)
  })

  test.runIf(userInfo().uid === 0)(
    'not those that were added for another user who is dead, until root takes them away',
    async () => {
      await chmod(join(locks.path, '..'), 0o755)
      await free(10)
      const dead = apply([pages(30)], { grow: true })
      await dead.has()
      await dead.kill()
      const waiter = apply([pages(10)], { prefix: AS_NOBODY })
      expect(await waiter.waits()).toContain('needs 10 pages of 2M on node 0, 0 free')
      await sweepLeases(here.host)
      await waiter.has()
      expect((await pool()).free).toBe(10)
    },
  )
})

describe('a pool that may grow', () => {
  test('grows by just what is missing, and is as it was when all have ended', async () => {
    await free(10)
    const before = await pool()
    const first = apply([pages(8), pages(7)], { grow: true })
    await first.has()
    expect((await pool()).total).toBe(before.total + 5)
    const second = apply([pages(20)], { grow: true })
    await second.has()
    expect((await pool()).total).toBe(before.total + 25)
    await first.giveBack()
    expect((await pool()).total).toBe(before.total + 20)
    const third = apply([pages(10)], { grow: true })
    await third.has()
    expect((await pool()).total).toBe(before.total + 20)
    await second.giveBack()
    await third.giveBack()
    expect(await pool()).toEqual(before)
  })

  test('is as it was after somebody who was killed, by the next sweep or the next who lacks them', async () => {
    await free(10)
    const before = await pool()
    const first = apply([pages(20), pages(20)], { grow: true })
    await first.has()
    await first.kill()
    expect((await pool()).total).toBe(before.total + 30)
    await sweepLeases(here.host)
    expect(await pool()).toEqual(before)
    const second = apply([pages(20)], { grow: true })
    await second.has()
    await second.kill()
    await (await promised(10)).release()
    expect(await pool()).toEqual(before)
  })

  test('is no reason to wait for what will never be there', async () => {
    await free(10)
    const mine = await promised(30, { grow: true })
    const { total } = await pool()
    const message = await refusal(total - 19)
    expect(message).toContain('even with nobody else on the host')
    expect(await refusal(total - 20)).toMatch(
      /needs .* pages of 2M on node 0, 0 free; 30 pages promised/,
    )
    await mine.release()
  })
})

describe('cores', () => {
  test('are one process’s at a time, whether it names them or not', async () => {
    const all = await readCpus(here.host)
    const cores = [...Map.groupBy(all, ({ core }) => core).values()]
    const [a = [], b = [], ...rest] = cores.map((threads) => threads.map(({ cpu }) => cpu))
    expect(b).not.toEqual([])
    const list = rest.flat()
    const others = list.length > 0 ? await admit(here.host, [{ dut: 'dut0', cores: { list } }]) : []
    const any: Need = { dut: 'dut0', cores: { count: 1 } }
    const first = apply([any])
    const second = apply([any])
    const chosen = [...(await first.has()), ...(await second.has())]
    expect(chosen.flatMap(({ cpus }) => cpus).sort()).toEqual([...a, ...b].sort())
    expect(chosen.every(({ pin, cpus }) => cpus.includes(pin?.[0] ?? -1))).toBe(true)
    const named = apply([{ dut: 'dut0', cores: { list: a.slice(0, 1) } }])
    expect(await named.waits()).toMatch(/needs cpu \d+, none is free; cpu .* promised to a test/)
    const third = apply([any])
    await untilQueued(2)
    await Promise.all([first.giveBack(), second.giveBack()])
    const [[mine], [theirs]] = await Promise.all([named.has(), third.has()])
    expect(mine?.pin).toEqual(a.slice(0, 1))
    expect(theirs?.cpus).toEqual(b)
    await Promise.all(others.map((lease) => lease.release()))
  })
})

describe('ports', () => {
  test('of five processes that ask for ten each at once are fifty', async () => {
    const ten = Array.from({ length: 10 }, (): Need => ({ dut: 'dut0', ports: 1 }))
    const applicants = Array.from({ length: 5 }, () => apply(ten))
    const all = await Promise.all(applicants.map((applicant) => applicant.has()))
    const ports = all.flat().flatMap((holding) => holding.ports)
    expect(new Set(ports).size).toBe(50)
    await Promise.all(applicants.map((applicant) => applicant.giveBack()))
    expect(await files()).toEqual([])
  })

  test('of many calls of one process are many', async () => {
    const one: Need = { dut: 'dut0', ports: 2, portRange: [24_100, 24_119] }
    const leases = await Promise.all(Array.from({ length: 10 }, () => admit(here.host, [one])))
    expect(new Set(leases.flat().flatMap(({ holding }) => holding.ports)).size).toBe(20)
    await expect(admit(here.host, [one])).rejects.toThrow('of 24100 to 24119')
    await Promise.all(leases.flat().map((lease) => lease.release()))
    expect(await files()).toEqual([])
  })
})

test('names are one process’s at a time, all of a list at once', async () => {
  const [mine] = await admit(here.host, [name('a', 'b')])
  const waiter = apply([name('b', 'c')])
  await untilQueued(1)
  const other = apply([name('d')])
  expect((await other.has())[0]?.names).toEqual(['d'])
  await mine?.release()
  expect((await waiter.has())[0]?.names).toEqual(['b', 'c'])
})
