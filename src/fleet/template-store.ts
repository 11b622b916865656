import { userInfo } from 'node:os'
import type { Host } from '../host/host.ts'
import type { TemplateStore } from '../vm/home.ts'
import { openRunBase } from './run-base.ts'

/** Memory that is a file: a clone maps it, and what it does not change is there once for all. */
const SHM = '/dev/shm'

/**
 * Where the templates of this user are on a host: `VITEST_DUT_TEMPLATES`, or a folder in /dev/shm, of
 * which they take a quarter at most; undefined where that is not there.
 *
 * @throws InfrastructureError where the folder is not this user's alone
 */
export async function openTemplateStore(host: Host): Promise<TemplateStore | undefined> {
  const { VITEST_DUT_TEMPLATES } = process.env
  const base = VITEST_DUT_TEMPLATES || `${SHM}/vitest-dut-${userInfo().uid}`
  if (!VITEST_DUT_TEMPLATES && !(await host.fileFacts(SHM))?.writable) return undefined
  const path = await openRunBase(host, base)
  const { stdout } = await host.run('df', ['--output=size', '--block-size=1', '--', path])
  return { path, limit: Number.parseInt(stdout.split('\n')[1] ?? '0', 10) / 4 }
}
