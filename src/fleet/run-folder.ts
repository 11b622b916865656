import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { InfrastructureError } from '../errors.ts'
import type { Host, HostLock } from '../host/host.ts'

/** A run's folder on a host: for sockets and logs, its owner's alone, gone when the run is over. */
export interface RunFolder {
  path: string
  close(): Promise<void>
}

/** Short, because a unix socket's path has 107 bytes in all. */
const ID_LENGTH = 6
/** st_mode of a folder with mode 700, as stat(1) shows it (inode(7)). */
const OWN_FOLDER = '41c0'
/** The base may be a folder that somebody chose: nothing in it is touched but what has such a name. */
const RUN = /^[0-9a-f]{6}$/

/**
 * Makes a folder for this run, and removes those of runs that are over without having cleaned up. A
 * run is over when nobody holds the lock of its folder, which the kernel lets go of with the process.
 */
export async function openRunFolder(host: Host, base = runBase()): Promise<RunFolder> {
  await host.makeDir(base, 0o700)
  await checkOwner(host, base)
  // A folder is made and locked, and others are looked at, by one process at a time: a sweep must
  // not meet a folder between its making and its locking.
  const turn = await host.lock(join(base, 'lock'))
  try {
    await sweep(host, base)
    const path = join(base, crypto.randomUUID().slice(0, ID_LENGTH))
    await host.makeDir(path, 0o700)
    const lock = await host.lock(join(path, 'lock'))
    return {
      path,
      close: async () => {
        // In its turn too: a sweep must not meet a folder that is half gone.
        const turn = await host.lock(join(base, 'lock'))
        try {
          await host.remove(path)
        } finally {
          await lock.release()
          await turn.release()
        }
      },
    }
  } finally {
    await turn.release()
  }
}

async function sweep(host: Host, base: string): Promise<void> {
  for (const name of await host.listDir(base)) {
    if (!RUN.test(name)) continue
    const lock: HostLock | undefined = await host.lock(join(base, name, 'lock'), { wait: false })
    if (lock === undefined) continue // somebody alive
    await host.remove(join(base, name))
    await lock.release()
  }
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
