import { localHost } from '../../host/local.ts'
import { type Check, type Finding, failure, type Machine } from './check.ts'
import { locks, runs } from './folders.ts'
import { cache, guest, tools } from './guest.ts'
import { growth, hugepages } from './hugepages.ts'
import { needed, node, terminals, testpmd, useful } from './programs.ts'
import { acceleration, kvmDevice, qemu } from './qemu.ts'
import { cpus, memory } from './resources.ts'
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
  const first = { check: 'node', ...node() }
  return [first, ...(await lookAt({ uid, root: uid === 0, host: localHost() }, onPending))]
}

async function lookAt(machine: Machine, onPending: (names: string[]) => void): Promise<Result[]> {
  const checks: Check[] = [
    ...[terminals, qemu, acceleration, ...needed, ...useful, memory, cpus],
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
