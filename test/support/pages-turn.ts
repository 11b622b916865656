import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll } from 'vitest'
import type { HostLock } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { changePages } from '../../src/lease/resources/pages.ts'

/** Lets no other test file that asks change this machine's huge pages at the same time. */
export function usePagesTurn() {
  const host = localHost()
  let turn: HostLock | undefined
  let added = 0
  // No limit: it is as long as whole other files take, and each of their tests has a limit of its own.
  beforeAll(async () => {
    turn = await host.lock(join(tmpdir(), 'vitest-dut-test-pages'))
  }, 0)
  const change = async (by: number) => {
    await changePages(host, { size: '2M', node: 0 }, by)
    added += by
  }
  afterEach(() => change(-added))
  afterAll(() => turn?.release())
  return {
    /** Adds pages of 2M, or takes them away; what is left of them at the test's end goes with it. */
    change,
  }
}
