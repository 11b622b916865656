import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { Host } from '../host/host.ts'
import { openOwnFolder } from './own-folder.ts'

/** The base may be a folder that somebody chose: nothing in it is touched but what has such a name. */
export const RUN = /^[0-9a-f]{6}$/

/**
 * The folder that the runs' folders are in, made where there is none.
 *
 * @throws InfrastructureError where it is not this user's alone
 */
export function openRunBase(host: Host, path = runBase()): Promise<string> {
  return openOwnFolder(host, { path, what: 'run folder', variable: 'VITEST_DUT_RUN_DIR' })
}

function runBase(): string {
  const { XDG_RUNTIME_DIR, VITEST_DUT_RUN_DIR } = process.env
  if (VITEST_DUT_RUN_DIR) return VITEST_DUT_RUN_DIR
  if (userInfo().uid === 0) return '/run/vitest-dut'
  if (XDG_RUNTIME_DIR) return join(XDG_RUNTIME_DIR, 'vitest-dut')
  return join(tmpdir(), `vitest-dut-${userInfo().uid}`)
}
