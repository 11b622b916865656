import { expect, test } from 'vitest'
import type { Host } from '../../../src/host/host.ts'
import { admit } from '../../../src/lease/admission/admit.ts'
import { withLedger } from '../../../src/lease/ledger/ledger.ts'
import { turn } from '../../../src/wait.ts'
import { useApplicants } from '../../support/applicants.ts'

const { here, files } = useApplicants()
const M = 2 ** 20

test('who makes room when their time is over is promised nothing any more, and nothing stays', async () => {
  const { host } = here
  let available = 100 * M
  const small: Host = {
    ...host,
    readFile: async (path) =>
      path === '/proc/meminfo'
        ? Buffer.from(`MemTotal: 8388608 kB\nMemAvailable: ${available / 1024} kB\nHugetlb: 0 kB\n`)
        : host.readFile(path),
  }
  const made = Promise.withResolvers<boolean>()
  const asked: number[] = []
  const makeRoom = (bytes: number) => {
    asked.push(bytes)
    return asked.length === 1 ? Promise.resolve(false) : made.promise
  }
  const options = { makeRoom, timeoutMs: 4000 }
  const late = admit(small, [{ dut: 'dut0', memory: 200 * M }], options)
  await expect(late).rejects.toThrow('needs 200M')
  expect(asked).toEqual([200 * M, 200 * M])
  available *= 10
  made.resolve(true)
  await turn()
  await withLedger(small, async () => {}) // whoever asked comes before
  expect(await files()).toEqual([])
})
