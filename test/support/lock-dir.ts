import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, onTestFinished, vi } from 'vitest'

/** Gives each test of the file a folder of lock files of its own. */
export function useLockDir(): { readonly path: string } {
  const dir = { path: '' }
  beforeEach(async () => {
    dir.path = join(await mkdtemp(join(tmpdir(), 'dut-lock-')), 'locks')
    vi.stubEnv('VITEST_DUT_LOCK_DIR', dir.path)
    // Registered first, done last: what the test started and ends with it makes files there until then.
    onTestFinished(async () => {
      vi.unstubAllEnvs()
      await rm(join(dir.path, '..'), { recursive: true })
    })
  })
  return dir
}
