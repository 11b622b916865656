import { join } from 'node:path'
import type { Host } from '../host/host.ts'
import { type Swept, sweepLeases } from '../lease/sweep.ts'
import { type HostProcess, killAll, processesBelow } from './leftovers.ts'
import { openRunBase, RUN } from './run-base.ts'

/** What was found of runs that are over. */
export interface SweptHost extends Swept {
  /** Their folders. */
  runs: string[]
  /** Programs that they started and that got away from them. */
  processes: HostProcess[]
}

/**
 * Removes from a host what is left of runs that are over: folders, programs that got away, leases and
 * what was changed for them. Whoever holds the lock of their folder or their lease is alive, and
 * nothing of theirs is touched.
 *
 * @param dryRun only tells what it would remove
 */
export async function sweepHost(
  host: Host,
  { dryRun = false, base: given }: { dryRun?: boolean; base?: string } = {},
): Promise<SweptHost> {
  const base = await openRunBase(host, given)
  const turn = await host.lock(join(base, 'lock'))
  try {
    const runs: string[] = []
    const processes: HostProcess[] = []
    for (const name of await host.listDir(base)) {
      if (!RUN.test(name)) continue
      const folder = join(base, name)
      const lock = await host.lock(join(folder, 'lock'), { wait: false })
      if (lock === undefined) continue // somebody alive
      const left = await processesBelow(host, folder)
      if (!dryRun) await killAll(host, left)
      if (!dryRun) await host.remove(folder)
      await lock.release()
      runs.push(folder)
      processes.push(...left)
    }
    return { ...(await sweepLeases(host, { dryRun })), runs, processes }
  } finally {
    await turn.release()
  }
}
