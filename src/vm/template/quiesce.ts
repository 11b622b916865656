import { exec } from '../../guest-protocol/exec.ts'
import { poll } from '../../wait.ts'
import { awaitInit } from '../boot/wait-for-init.ts'
import type { Machine } from '../instance/running-guest.ts'
import { type VcpuTimes, vcpuTimes } from '../instance/vcpus.ts'

/** What a guest does for the first time takes longer: done before it is saved, no clone pays for it. */
const WARM_UPS = 3
/** What the guest's agent sets up half a second after the first answer, and clones would do each. */
const AWAIT_BUTTON = `
exec {never}<> <(:)
until [[ -e /sys/class/input/event0 ]]; do read -r -t 0.01 -u "$never" _; done`
const BUTTON_PATIENCE_MS = 10_000
/** Of an interval's time a virtual CPU that has nothing to do uses less: its kernel's clock ticks. */
const IDLE_PART = 0.1
const INTERVAL_MS = 20
const QUIET_PATIENCE_MS = 5000

interface QuietOptions {
  isBuiltIn: boolean
  button: boolean
  /** Called with what an init that takes long still waits for, each time that is something else. */
  onWait: (units: readonly string[]) => void
}

/**
 * Waits until a guest that has booted does nothing any more, and has done once what it will do again:
 * what is under way when it is saved, goes on in every clone.
 *
 * @returns units that its init is still starting
 */
export async function becomeQuiet(
  machine: Machine,
  { isBuiltIn, button, onWait }: QuietOptions,
): Promise<string[]> {
  if (isBuiltIn && button) {
    await exec(machine, AWAIT_BUTTON, { timeout: BUTTON_PATIENCE_MS }).catch(() => {}) // it may have none
  }
  const unfinished = isBuiltIn ? [] : await awaitInit(machine, onWait)
  for (let i = 0; i < WARM_UPS; i++) await exec(machine, 'true')
  await idle(machine)
  return unfinished
}

/** Resolves when the virtual CPUs are idle, or have not been for too long. */
export async function idle(machine: Machine): Promise<void> {
  let before: VcpuTimes | undefined
  const look = async () => {
    const now = await vcpuTimes(machine)
    const ranMs = before === undefined ? Number.POSITIVE_INFINITY : allRan(now) - allRan(before)
    const part = ranMs / (now.at - (before?.at ?? 0))
    const isWaiting = [...now.threads.values()].some(({ isRunnable }) => isRunnable)
    before = now
    return (part < IDLE_PART && !isWaiting) || undefined
  }
  const { ended } = machine.life
  const patience = { everyMs: INTERVAL_MS, timeoutMs: QUIET_PATIENCE_MS, signal: ended }
  await poll(look, patience).catch(() => ended.throwIfAborted())
}

/** Milliseconds of a CPU that all of them have had. */
function allRan({ threads }: VcpuTimes): number {
  return [...threads.values()].reduce((sum, { ranMs }) => sum + ranMs, 0)
}
