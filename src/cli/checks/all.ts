import { openHost } from '../host.ts'
import { type Check, type Finding, failure, type Machine, ok } from './check.ts'
import { locks, runs } from './folders.ts'
import { cache, guest, tools } from './guest.ts'
import { growth, hugepages } from './hugepages.ts'
import { needed, node, testpmd, useful } from './programs.ts'
import { acceleration, kvmDevice, qemu } from './qemu.ts'
import { taps, user } from './rights.ts'
import { templates } from './templates.ts'

export interface Result extends Finding {
  /** What was looked at. */
  check: string
}

/**
 * Looks at everything on this machine that a run needs or can make use of; the results are always in the
 * same order.
 *
 * @param onPending gets the names of the checks that are still under way
 */
export async function lookAtAll(onPending: (names: string[]) => void): Promise<Result[]> {
  const uid = process.getuid?.() ?? -1
  const rights = { uid, root: uid === 0 }
  const terminals = 'node-pty'
  const first = { check: 'node', ...node() }
  const host = await openHost().catch((error: unknown) => failure(rights, error))
  // Without it no program is started, so there is nothing more to look at.
  if ('status' in host) return [first, { check: terminals, ...host }]
  const results = await lookAt({ ...rights, host }, onPending)
  return [first, { check: terminals, ...ok('loads in this Node') }, ...results]
}

async function lookAt(machine: Machine, onPending: (names: string[]) => void): Promise<Result[]> {
  const checks: Check[] = [
    ...[qemu, acceleration, ...needed, ...useful],
    ...(await hugepages(machine.host)),
    ...[locks, runs, cache, guest, tools, templates, testpmd],
    ...[user, kvmDevice, taps, growth],
  ]
  const pending = new Set(checks.map(({ name }) => name))
  return Promise.all(
    checks.map(async ({ name, look }) => {
      onPending([...pending])
      const { status, detail, fix } = await look(machine).catch((e) => failure(machine, e))
      pending.delete(name)
      onPending([...pending])
      return { check: name, status, detail, ...(fix !== undefined && { fix }) }
    }),
  )
}
