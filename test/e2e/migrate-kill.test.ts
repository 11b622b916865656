import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startProcess } from '../support/process.ts'
import { processesWith } from '../support/processes.ts'
import { heldIn } from '../support/remains.ts'

interface Told {
  status: string
  dir: string
}

/** A process that migrates, with folders of its own. */
function startPeer() {
  const place = mkdtempSync('/tmp/migrate-')
  const lockDir = join(place, 'locks')
  mkdirSync(lockDir, { mode: 0o777 })
  const prefix = ['env', `VITEST_DUT_RUN_DIR=${place}/run`]
  const peer = startProcess('migrate-peer.ts', [], { lockDir, prefix })
  onTestFinished(async () => {
    await peer.kill()
    rmSync(place, { recursive: true })
  })
  return { ...peer, place, lockDir }
}

test.for([
  ['begin', 1],
  ['active', 1],
  ['active', 12],
  ['pre-switchover', 1],
  ['end', 1],
  ['end', 2],
] as const)('a worker is killed at %s, the %ith time: nothing runs on', async ([status, nth]) => {
  const { line, kill, place, lockDir } = startPeer()
  for (let seen = 0; seen < nth; ) {
    const told = JSON.parse(await line()) as Told
    if (told.status === status) seen++
  }
  expect(processesWith(place).length).toBeGreaterThan(1)
  await kill()
  // A process that is just dying is not seen any more by its name, and still has its locks.
  const left = async () => [...processesWith(place), ...(await heldIn(lockDir))]
  await expect.poll(left, { timeout: 10_000 }).toEqual([])
})
