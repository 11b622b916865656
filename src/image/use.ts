import type { Host, HostLock } from '../host/host.ts'
import { waitFor } from '../wait.ts'
import { useFileOf } from './layout.ts'

// By host and folder: a worker has a Host for each of its DUTs, and one lock is enough for all.
const uses = new Map<string, Promise<HostLock | undefined>>()

/**
 * Keeps the guest in a folder, be it there already or not, from being removed until this process has
 * ended, and with it every VM that it runs. Waits while somebody removes it.
 */
export async function useGuest(host: Host, folder: string, signal?: AbortSignal): Promise<void> {
  const key = `${host.name} ${folder}`
  // Where the lock cannot be had, the cache is one that we can only read: its guest can be used, too.
  const use = uses.get(key) ?? host.lock(useFileOf(folder), { shared: true }).catch(() => undefined)
  uses.set(key, use)
  await waitFor(use, { signal })
}
