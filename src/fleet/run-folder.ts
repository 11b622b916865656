import { join } from 'node:path'
import type { Host } from '../host/host.ts'
import { openRunBase } from './run-base.ts'
import { sweepHost } from './sweep.ts'

/** A run's folder on a host: for sockets and logs, its owner's alone, gone when the run is over. */
export interface RunFolder {
  path: string
  close(): Promise<void>
}

/** Short, because a unix socket's path has 107 bytes in all. */
const ID_LENGTH = 6

/**
 * Makes a folder for this run, and removes what is left of runs that are over without having cleaned
 * up. A run is over when nobody holds the lock of its folder, which the kernel lets go of with the
 * process.
 *
 * @throws InfrastructureError where the folder that it would be in is not this user's alone
 */
export async function openRunFolder(host: Host, given?: string): Promise<RunFolder> {
  const base = await openRunBase(host, given)
  await sweepHost(host, { base })
  // A folder is made and locked, and others are looked at, by one process at a time: a sweep must
  // not meet a folder between its making and its locking.
  const turn = await host.lock(join(base, 'lock'))
  try {
    const path = join(base, crypto.randomUUID().slice(0, ID_LENGTH))
    await host.makeDir(path, 0o700)
    const lock = await host.lock(join(path, 'lock'))
    return {
      path,
      // What workers left that did not end in order, goes at once, and not when the next run begins.
      close: async () => {
        await lock.release()
        await sweepHost(host, { base })
      },
    }
  } finally {
    await turn.release()
  }
}
