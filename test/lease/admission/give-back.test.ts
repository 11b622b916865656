import { expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../../src/host/local.ts'
import { admit } from '../../../src/lease/admission/admit.ts'
import { sweepLeases } from '../../../src/lease/admission/sweep.ts'
import {
  type LeaseRecord,
  newName,
  readLedger,
  writeRecord,
} from '../../../src/lease/ledger/records.ts'
import { changePages, readPages } from '../../../src/lease/resources/pages.ts'
import { useLockDir } from '../../support/lock-dir.ts'
import { usePagesTurn } from '../../support/pages-turn.ts'

usePagesTurn()
useLockDir()

async function pool() {
  const { pools } = await readPages(localHost())
  const found = pools.find(({ size, node }) => size === '2M' && node === 0)
  if (found === undefined) throw new Error('this machine has no huge pages of 2M')
  return found
}

test.each([
  ['first', [0, 1]],
  ['last', [1, 0]],
])('a pool that was grown for two is as it was, whose came %s ends first', async (_, order) => {
  const host = localHost()
  const { total, free } = await pool()
  const needs = [free + 20, 30].map((count) => ({
    dut: 'dut0',
    pages: { size: '2M' as const, bytes: count * 2 ** 21, node: 0 },
  }))
  const leases = await admit(host, needs, { grow: true })
  expect((await pool()).total).toBe(total + 50)
  for (const i of order) await leases[i]?.release()
  expect((await pool()).total).toBe(total)
})

test.each([
  ['before the pool grew', 0],
  ['while it grew', 20],
  ['when it had grown', 50],
])('a pool is as it was before somebody who was killed %s', async (_, grown) => {
  const host = localHost()
  const { total } = await pool()
  const pages = { size: '2M', node: 0, count: 50, bind: false } as const
  const none = { memory: 0, cpus: [], ports: [], pci: [], bridges: [], names: [] }
  await writeRecord<LeaseRecord>(host, 'lease', {
    owner: newName('owner'),
    onBehalfOf: {},
    body: {
      dut: 'dut0',
      holding: { ...none, pages: { ...pages, grown: { from: total, to: total + 50 } } },
    },
  })
  const put = (by: number) => changePages(host, pages, by)
  await put(grown)
  onTestFinished(async () => put(total - (await pool()).total))
  const { leases } = await sweepLeases(host)
  expect(leases).toHaveLength(1)
  expect((await pool()).total).toBe(total)
  expect((await readLedger(host)).leases).toEqual([])
})
