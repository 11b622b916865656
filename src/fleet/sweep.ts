import { join } from 'node:path'
import { asError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import { type Swept, sweepLeases } from '../lease/admission/sweep.ts'
import { sweepTemplates } from '../vm/template/store.ts'
import { endAll, type HostProcess, processesBelow } from './leftovers.ts'
import { openRunBase, RUN } from './run-base.ts'
import { openTemplateStore } from './template-store.ts'

/** What was found of runs that are over. */
export interface SweptHost extends Swept {
  /** Their folders. */
  runs: string[]
  /** Programs that they started and that got away from them. */
  processes: HostProcess[]
  /** Folders of templates that were never finished. */
  templates: string[]
  /** Folders that could not be removed, and why; the next sweep tries again. */
  stuck: { folder: string; error: Error }[]
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
    const stuck: SweptHost['stuck'] = []
    for (const name of await host.listDir(base)) {
      if (!RUN.test(name)) continue
      const folder = join(base, name)
      try {
        const left = await sweepRun(host, folder, dryRun)
        if (left === undefined) continue
        runs.push(folder)
        processes.push(...left)
      } catch (error) {
        stuck.push({ folder, error: asError(error) })
      }
    }
    const templates = await openTemplateStore(host).then(
      ({ path }) => sweepTemplates(host, path, { dryRun }),
      () => [], // where they cannot be kept there are none
    )
    return { ...(await sweepLeases(host, { dryRun })), runs, processes, templates, stuck }
  } finally {
    await turn.release()
  }
}

/** What was left of a run in its folder; undefined where it is alive. */
async function sweepRun(
  host: Host,
  folder: string,
  dryRun: boolean,
): Promise<HostProcess[] | undefined> {
  const lock = await host.lock(join(folder, 'lock'), { wait: false })
  if (lock === undefined) return undefined
  try {
    const below = () => processesBelow(host, folder)
    const left = await below()
    if (!dryRun) await endAll(host, below)
    if (!dryRun) await host.remove(folder)
    return left
  } finally {
    await lock.release()
  }
}
