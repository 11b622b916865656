import type { Duplex } from 'node:stream'
import { Console } from '../../console/console.ts'
import { GuestError } from '../../errors.ts'
import { Agent } from '../../guest-protocol/agent.ts'
import { Lifeline } from '../../lifeline.ts'
import type { PlacedDevice } from '../../qemu/args.ts'
import { GuestAgentPort } from '../../qemu/guest-agent.ts'
import type { QemuProcess } from '../../qemu/process.ts'
import type { Qmp } from '../../qemu/qmp.ts'
import { kernelLines } from './kernel-lines.ts'
import { KernelLog } from './kernel-log.ts'
import { PanicWatch } from './panic-watch.ts'
import type { Engine } from './qemu-instance.ts'
import { RunWatch } from './run-watch.ts'

/**
 * A guest and the ways to it. The QEMU that it is in may become another one; those who talk to the
 * guest do not notice.
 */
export class Machine {
  readonly where: { vm: string; dut: string }
  readonly console: Console
  readonly kernelLog: KernelLog
  readonly agent: Agent
  /** The QEMU guest agent's, where the spec asks for it. */
  readonly guestAgent: GuestAgentPort | undefined
  /** Why there is no shell at its console. */
  noShell: (() => Error) | undefined
  /** Ends with the QEMU that the guest is in. */
  readonly life = new Lifeline()
  /** Knows whether its CPUs run. */
  readonly runs: RunWatch
  #engine: Engine

  /** @param onStage called with how far the guest's init is */
  constructor(engine: Engine, onStage: (stage: string) => void) {
    const { life } = this
    const { where, streams } = engine
    this.where = where
    this.console = new Console(streams.console, { life, ...where })
    const panics = new PanicWatch(this)
    this.kernelLog = new KernelLog(this.#kernelLines(engine), {
      stage: onStage,
      panic: () => panics.suspect(),
    })
    this.agent = new Agent(streams.agent, (error) => life.alarm(error))
    this.guestAgent = streams.guestAgent && new GuestAgentPort(streams.guestAgent, where)
    this.#engine = engine
    this.runs = new RunWatch({
      ...{ machine: this, life },
      panicked: () => void panics.confirm(),
      shutDown: (reason) => void panics.shutDown(reason),
      crashLoaded: () => panics.clear(),
    })
    this.#leanOn(engine)
  }

  get engine(): Engine {
    return this.#engine
  }

  get qemu(): QemuProcess {
    return this.#engine.qemu
  }

  get qmp(): Qmp {
    return this.#engine.qmp
  }

  /** Those that it has now. */
  get devices(): PlacedDevice[] {
    return this.#engine.devices
  }

  get startedAt(): number {
    return this.#engine.startedAt
  }

  get stopping(): boolean {
    return this.#engine.stopping
  }

  set stopping(stopping: boolean) {
    this.#engine.stopping = stopping
  }

  /** The last lines of the guest's kernel and of its console, which may be one stream. */
  tail(lines = 20): string {
    const console = this.console.tail(lines)
    const isOneStream = this.#engine.streams.kernelLog === undefined
    return isOneStream ? console : `${this.kernelLog.tail(lines)}\n${console}`
  }

  /** From here on, the end of the QEMU that it is in is not its own. */
  leave(): void {
    this.#engine.stopping = true
    this.#left.add(this.#engine)
  }

  /** Takes {@link leave} back. */
  stay(): void {
    this.#engine.stopping = false
    this.#left.delete(this.#engine)
    const { ended } = this.#engine.life
    if (ended.aborted) this.life.end(ended.reason)
  }

  /** The guest is in that QEMU now; all that came out of the one before has been read. */
  moveTo(engine: Engine): void {
    const { streams } = engine
    this.#engine.qmp.hub.moveTo(engine.qmp.hub)
    this.#engine = engine
    this.console.moveTo(streams.console)
    this.kernelLog.moveTo(this.#kernelLines(engine))
    this.agent.moveTo(streams.agent)
    if (streams.guestAgent) this.guestAgent?.moveTo(streams.guestAgent)
    this.#leanOn(engine)
  }

  /** Ends what is under way in the guest, for one that begins anew or is taken back. */
  async endAll(reason: string): Promise<void> {
    await this.agent.endAll(reason)
    this.guestAgent?.interrupt(new GuestError(reason, this.where))
  }

  readonly #left = new WeakSet<Engine>()

  #kernelLines({ streams, qemu }: Engine): Duplex {
    return streams.kernelLog ?? kernelLines(this.console, qemu.exited)
  }

  #leanOn(engine: Engine): void {
    engine.kernelLog = this.kernelLog
    const { ended } = engine.life
    const end = () => {
      if (!this.#left.has(engine)) this.life.end(ended.reason)
    }
    ended.addEventListener('abort', end, { once: true })
    if (ended.aborted) end()
  }
}
