import { AbortController, anySignal } from '../../abort.ts'
import { exec } from '../../guest-protocol/exec.ts'
import { performance } from '../../time.ts'
import { poll } from '../../wait.ts'
import type { Machine } from '../instance/running-guest.ts'

/** For an init that starts things long after it lets somebody in. Another init than systemd fails at it. */
const AWAIT_ALL = 'systemctl is-system-running --wait'
const ALL_PATIENCE_MS = 120_000
/** Nobody is asked what is being started before it has taken so long. */
const LONG_MS = 5000
/** Those that others wait for stand there, too, as `waiting`. */
const LIST_RUNNING = `systemctl list-jobs --no-legend --no-pager --plain |
  while read -r _ unit _ state; do [ "$state" != running ] || echo "$unit"; done`
const LIST_EVERY_MS = 3000
const LIST_PATIENCE_MS = 10_000
/** An init that waits for the same units for so long may do so for ever. */
const SAME_MOST_MS = 30_000

/**
 * Waits until a guest's init has started all that it wants to start; not for ever, and not for long where
 * it gets nowhere.
 *
 * @param onWait called with the units that are being started, after some seconds, and when they are others
 * @returns those that are still being started
 */
export async function awaitInit(
  machine: Machine,
  onWait: (units: readonly string[]) => void,
): Promise<string[]> {
  const over = new AbortController()
  const signal = anySignal(machine.life.ended, over.signal)
  const startedAt = performance.now()
  let [units, since]: [string[], number] = [[], startedAt]
  const look = async () => {
    if (performance.now() - startedAt < LONG_MS) return undefined
    const { stdout } = await exec(machine, LIST_RUNNING, { timeout: LIST_PATIENCE_MS, signal })
    const now = stdout.split('\n').filter(Boolean).sort()
    if (now.join() !== units.join()) {
      ;[units, since] = [now, performance.now()]
      if (now.length > 0) onWait(now)
    }
    return performance.now() - since > SAME_MOST_MS ? units : undefined
  }
  const all = exec(machine, AWAIT_ALL, { timeout: ALL_PATIENCE_MS, signal }).then(
    () => [],
    () => units, // it took too long, or there is no systemd
  )
  try {
    return await Promise.race([all, poll(look, { everyMs: LIST_EVERY_MS, signal })])
  } finally {
    over.abort()
    machine.life.ended.throwIfAborted()
  }
}
