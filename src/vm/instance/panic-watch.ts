import { AbortController, anySignal } from '../../abort.ts'
import { VmDiedError } from '../../errors.ts'
import type { Agent } from '../../guest-protocol/agent.ts'
import type { Host } from '../../host/host.ts'
import type { Lifeline } from '../../lifeline.ts'
import type { Qmp } from '../../qemu/qmp.ts'
import { performance } from '../../time.ts'
import { poll } from '../../wait.ts'
import { panicError, panicked, wholeLog } from './exit-cause.ts'
import type { KernelLog } from './kernel-log.ts'
import { busiest, isInUserMode, vcpuTimes } from './vcpus.ts'

const EVERY_MS = 50
/** A kernel that panics prints its call trace first, and other CPUs run on meanwhile. */
const QUIET_MS = 300
const TRACE_MS = 2000
/** How long a panic's line may be on its way when QEMU has told of it, and stays. */
const LINE_MS = 2000
/** A CPU that has run for that long within the kernel, while nobody answered, is in a panic's endless loop. */
const SPUN_MS = 1000
/** A CPU that waits for something to do has less of an interval. */
const IDLE_PART = 0.5

/** A machine in which such a line was printed. */
interface Suspect {
  agent: Agent
  kernelLog: KernelLog
  life: Lifeline
  where: { vm: string; dut: string }
  qmp: Qmp
  qemu: { pid: number }
  engine: { host: Host }
}

/**
 * Finds out what a line is that reads like a kernel's panic: any program of the guest can print one. It is a
 * panic if QEMU says so, or if the guest answers no more while its CPU runs on in the kernel.
 */
export class PanicWatch {
  readonly #machine: Suspect
  #asking: Promise<void> | undefined

  constructor(machine: Suspect) {
    this.#machine = machine
  }

  /** Such a line was printed. */
  suspect(): void {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined
    })
    this.#asking.catch(() => {}) // QEMU is gone, which is told elsewhere
  }

  /** QEMU says that it is true. */
  async confirm(): Promise<void> {
    const { kernelLog, life, where } = this.#machine
    const line = () => kernelLog.panic
    const patience = { timeoutMs: LINE_MS, signal: life.ended }
    await Promise.race([poll(line, patience).catch(() => undefined), kernelLog.ended])
    const { panic } = kernelLog
    if (panic !== undefined) return panicked(panic, this.#machine)
    life.end(new VmDiedError('the guest has panicked', { ...where, tail: kernelLog.tail() }))
  }

  /** QEMU ends since the guest has reset itself, as kernels do that panic; others do it in order. */
  async shutDown(reason: string): Promise<void> {
    const { kernelLog } = this.#machine
    const isReset = reason === 'guest-reset' || reason === 'guest-panic'
    if (!isReset || kernelLog.panic === undefined) return
    await wholeLog(kernelLog) // QMP may be read before what the kernel said last
    if (kernelLog.panic !== undefined && !kernelLog.endedInOrder) await this.confirm()
  }

  /** The guest goes on by itself, whatever its kernel has said. */
  clear(): void {
    this.#machine.kernelLog.clearPanic()
  }

  async #ask(): Promise<void> {
    const { kernelLog, life, where } = this.#machine
    for (;;) {
      const { panic, panics } = kernelLog
      if (panic === undefined) return
      await life.moving
      await this.#isQuiet()
      const isAlive = await this.#isAlive()
      life.ended.throwIfAborted()
      if (kernelLog.panic === undefined) return
      if (!isAlive) return life.end(panicError(kernelLog.panic, kernelLog, where))
      // The answer says nothing of lines that were printed later.
      if (kernelLog.panics === panics) return kernelLog.clearPanic()
    }
  }

  /** Resolves when the kernel prints nothing more, or goes on for longer than a panic would. */
  async #isQuiet(): Promise<void> {
    const { kernelLog, life } = this.#machine
    let before = { heard: kernelLog.heard, at: performance.now() }
    const look = () => {
      if (kernelLog.heard === before.heard) {
        return performance.now() - before.at > QUIET_MS || undefined
      }
      before = { heard: kernelLog.heard, at: performance.now() }
      return undefined
    }
    await poll(look, { timeoutMs: TRACE_MS, signal: life.ended }).catch(() => {})
  }

  async #isAlive(): Promise<boolean> {
    const { agent, life, kernelLog } = this.#machine
    const over = new AbortController()
    const signal = anySignal(life.ended, over.signal)
    let answered = false
    if (agent.isThere) {
      agent.hello({ signal }).then(
        () => {
          answered = true
        },
        () => {},
      )
    }
    let before = await vcpuTimes(this.#machine)
    let spunMs = 0
    const look = async () => {
      const now = await vcpuTimes(this.#machine)
      // The host's kernel counts what a thread has run at its ticks: in a shorter time all seem to be idle.
      if (now.at - before.at < EVERY_MS) return undefined
      const { ranMs, part } = busiest(before, now)
      before = now
      spunMs += ranMs
      if (answered || life.still || part < IDLE_PART) return true
      if (kernelLog.hasBootedSince) return true
      if (await isInUserMode(this.#machine)) return true
      return spunMs > SPUN_MS ? false : undefined
    }
    try {
      return await poll(look, { everyMs: EVERY_MS, signal: life.ended })
    } finally {
      over.abort()
    }
  }
}
