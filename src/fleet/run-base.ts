import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { InfrastructureError } from '../errors.ts'
import { type Host, LONGEST_SOCKET_PATH } from '../host/host.ts'
import { userId } from '../host/user.ts'
import { openOwnFolder } from './own-folder.ts'

/** The base may be a folder that somebody chose: nothing in it is touched but what has such a name. */
export const RUN = /^[0-9a-f]{6}$/

/** For a run, a suite, a VM and its sockets: `/1a2b3c/1a2b3c4d0/vhost-1a2b3c-31` and the like. */
const BELOW = 40
const LONGEST = LONGEST_SOCKET_PATH - BELOW

/**
 * The folder that the runs' folders are in, made where there is none.
 *
 * @throws InfrastructureError where it is not this user's alone, or no socket can be in it
 */
export async function openRunBase(host: Host, given?: string): Promise<string> {
  const path = resolve(given ?? (await runBase(host)))
  checkSocketsBelow(path)
  return openOwnFolder(host, { path, what: 'run folder', variable: 'VITEST_DUT_RUN_DIR' })
}

async function runBase(host: Host): Promise<string> {
  const { XDG_RUNTIME_DIR, VITEST_DUT_RUN_DIR } = process.env
  if (VITEST_DUT_RUN_DIR) return VITEST_DUT_RUN_DIR
  if (userId() === 0) return '/run/vitest-dut'
  // Also who became another user has it in the environment: that of the one who was before.
  const runtime = XDG_RUNTIME_DIR || '/run/user/none'
  const facts = await host.fileFacts(runtime).catch(() => undefined)
  if (facts?.writable && facts.uid === userId()) return join(runtime, 'vitest-dut')
  return join(tmpdir(), `vitest-dut-${userId()}`)
}

/**
 * Sockets are named to node:net, QEMU and DPDK, each of which has its own way to fail over a path that it
 * cannot take; DPDK's options have no way to write a comma or an equals sign.
 */
function checkSocketsBelow(path: string): void {
  const { length } = Buffer.from(path)
  const sign = /[,=\x00-\x1f]/.exec(path)?.[0]
  if (length <= LONGEST && sign === undefined) return
  const why =
    sign === undefined
      ? `is too long for the unix sockets in it: ${length} bytes, the most is ${LONGEST}`
      : `has ${JSON.stringify(sign)} in it, which DPDK cannot read in the path of a socket`
  throw new InfrastructureError(`the run folder ${path} ${why}`, {
    hint: 'set VITEST_DUT_RUN_DIR to another folder, such as /tmp/dut',
  })
}
