import type { Host, HostLock } from '../../host/host.ts'
import { holderNote } from '../locks/holder.ts'
import { newName, recordPath } from './records.ts'

interface Ownership {
  taking: Promise<{ file: string; lock: HostLock }>
  /** Counted before anything is waited for, so that nobody lets go of what another is just taking. */
  users: number
}

const ownerships = new WeakMap<Host, Ownership>()

/**
 * The file whose lock says that this process is alive, for as long as anybody uses it: every call
 * needs one of {@link letGoOfOwner}. The first must come while nobody sweeps, for there is a moment
 * between the file's making and its locking.
 */
export async function takeOwner(host: Host): Promise<string> {
  const ownership = ownerships.get(host) ?? { taking: take(host), users: 0 }
  ownerships.set(host, ownership)
  ownership.users += 1
  try {
    return (await ownership.taking).file
  } catch (error) {
    if (ownerships.get(host) === ownership) ownerships.delete(host)
    throw error
  }
}

export async function letGoOfOwner(host: Host): Promise<void> {
  const ownership = ownerships.get(host)
  if (ownership === undefined) return
  ownership.users -= 1
  if (ownership.users > 0) return
  ownerships.delete(host)
  const { file, lock } = await ownership.taking
  await host.remove(await recordPath(host, file))
  await lock.release()
}

async function take(host: Host): Promise<{ file: string; lock: HostLock }> {
  const file = newName('owner')
  const path = await recordPath(host, file)
  const note = holderNote()
  // Nobody else knows the file, but for those who look at all of them, each for an instant.
  const lock = await host.lock(path, { wait: false, note })
  return { file, lock: lock ?? (await host.lock(path, { note })) }
}
