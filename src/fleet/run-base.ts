import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { firstLine, InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'

/** st_mode of a folder with mode 700, as stat(1) shows it (inode(7)). */
const OWN_FOLDER = '41c0'
/** The base may be a folder that somebody chose: nothing in it is touched but what has such a name. */
export const RUN = /^[0-9a-f]{6}$/

/**
 * The folder that the runs' folders are in, made where there is none.
 *
 * @throws InfrastructureError where it is not this user's alone
 */
export async function openRunBase(host: Host, base = runBase()): Promise<string> {
  await host.makeDir(base, 0o700).catch((cause) => {
    throw unusable(`the run folder ${base} cannot be made: ${firstLine(cause)}`, cause)
  })
  await checkOwner(host, base)
  const writable = (await host.fileFacts(base))?.writable
  if (!writable) throw unusable(`the run folder ${base} cannot be written`)
  return base
}

function runBase(): string {
  const { XDG_RUNTIME_DIR, VITEST_DUT_RUN_DIR } = process.env
  if (VITEST_DUT_RUN_DIR) return VITEST_DUT_RUN_DIR
  if (userInfo().uid === 0) return '/run/vitest-dut'
  if (XDG_RUNTIME_DIR) return join(XDG_RUNTIME_DIR, 'vitest-dut')
  return join(tmpdir(), `vitest-dut-${userInfo().uid}`)
}

/** In a folder that everybody can write to, somebody else may have made ours before us. */
async function checkOwner(host: Host, base: string): Promise<void> {
  // The kind as a number: its name is in the user's language.
  const { stdout } = await host.run('stat', ['--format', '%u %f', '--', base])
  if (stdout.trim() === `${userInfo().uid} ${OWN_FOLDER}`) return
  throw new InfrastructureError(`${base} is not a folder of this user's alone`, {
    hint: `remove it, or set VITEST_DUT_RUN_DIR to a folder of your own with mode 700`,
  })
}

function unusable(message: string, cause?: unknown): InfrastructureError {
  const hint = 'set VITEST_DUT_RUN_DIR to a folder of your own with mode 700'
  return new InfrastructureError(message, { hint, cause })
}
