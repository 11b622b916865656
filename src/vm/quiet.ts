import { exec } from '../console/exec.ts'
import type { Host } from '../host/host.ts'
import { performance } from '../time.ts'
import { poll } from '../wait.ts'
import { awaitInit } from './init.ts'
import type { Machine } from './machine.ts'

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
  host: Host,
  machine: Machine,
  { isBuiltIn, button, onWait }: QuietOptions,
): Promise<string[]> {
  if (isBuiltIn && button) {
    await exec(machine, AWAIT_BUTTON, { timeout: BUTTON_PATIENCE_MS }).catch(() => {}) // it may have none
  }
  const unfinished = isBuiltIn ? [] : await awaitInit(machine, onWait)
  for (let i = 0; i < WARM_UPS; i++) await exec(machine, 'true')
  await idle(host, machine)
  return unfinished
}

/** Resolves when the virtual CPUs are idle, or have not been for too long. */
export async function idle(host: Host, { qmp, qemu, life }: Machine): Promise<void> {
  const vcpus = await qmp.execute('query-cpus-fast')
  const threads = [...new Set(vcpus.map((vcpu) => vcpu['thread-id']))]
  let before = { at: performance.now(), usedMs: Number.NEGATIVE_INFINITY }
  const look = async () => {
    const used = await Promise.all(threads.map((thread) => usedMs(host, qemu.pid, thread)))
    const now = { at: performance.now(), usedMs: used.reduce((sum, ms) => sum + ms, 0) }
    const part = (now.usedMs - before.usedMs) / (now.at - before.at)
    before = now
    return part < IDLE_PART || undefined
  }
  const patience = { everyMs: INTERVAL_MS, timeoutMs: QUIET_PATIENCE_MS, signal: life.ended }
  await poll(look, patience).catch(() => life.ended.throwIfAborted())
}

/** Milliseconds of a CPU that a thread has had. */
async function usedMs(host: Host, pid: number, thread: number): Promise<number> {
  const text = await host.readFile(`/proc/${pid}/task/${thread}/schedstat`)
  return Number.parseInt(Buffer.from(text).toString(), 10) / 1e6
}
