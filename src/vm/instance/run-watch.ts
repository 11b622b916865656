import { GuestError } from '../../errors.ts'
import type { Agent } from '../../guest-protocol/agent.ts'
import type { Lifeline } from '../../lifeline.ts'
import { AGENT_ID } from '../../qemu/guest-args.ts'
import type { QmpEvent, QmpEvents } from '../../qemu/qmp-types.ts'
import type { KernelLog } from './kernel-log.ts'
import type { Engine } from './qemu-instance.ts'
import { type IoError, isMishap, whyStopped } from './stop-cause.ts'

/** How long a QEMU that runs may take to answer. */
const QMP_PATIENCE_MS = 1000

interface Watched {
  /** Its QEMU may become another one. */
  machine: {
    readonly engine: Engine
    agent: Agent
    kernelLog: KernelLog
    where: { vm: string; dut: string }
  }
  life: Lifeline
  /** QEMU says that the guest has panicked. */
  panicked: () => void
  /** QEMU ends, for that reason. */
  shutDown: (reason: string) => void
  /** QEMU says that the guest's kernel deals with its panic itself, by another kernel (kdump). */
  crashLoaded: () => void
}

/**
 * Listens to what QEMU says of a machine: whether its CPUs run, and whether there is an agent at the
 * guest's end of its port. What waits for a guest that has been stopped fails at once, with the reason.
 */
export class RunWatch {
  readonly #watched: Watched
  /** How many steps of ours are under way that stop the machine themselves; its start is one. */
  #own = 1
  #isStopped = false
  #isMishap = false
  /** Stopped by `Vm.pause`. */
  #isPaused = false
  #ioError: IoError | undefined
  #isPortOpen: boolean | undefined
  #settling: Promise<void> = Promise.resolve()

  constructor(watched: Watched) {
    this.#watched = watched
    watched.machine.engine.qmp.hub.listen((event) => this.#hear(event))
    watched.life.onDiagnose = () => this.#whySilent()
  }

  /** The CPUs are stopped, but not by ourselves for a moment. */
  get isPaused(): boolean {
    return this.#isStopped && (this.#own === 0 || this.#isMishap)
  }

  /** The machine is a VM from here on. */
  begin(): void {
    this.#leave()
  }

  /** Does something that stops the machine itself and lets it go on. */
  async own<T>(fn: () => Promise<T>): Promise<T> {
    this.#own++
    this.#watched.life.goOn()
    try {
      return await fn()
    } finally {
      this.#leave()
      await this.#settling // QEMU may not have told yet that it goes on
    }
  }

  /** Stops the CPUs: waits that are under way go on, for whoever asked for it can end it. */
  async pause(): Promise<void> {
    await this.#settling
    this.#isPaused = true
    try {
      await this.#qmp.execute('stop')
    } catch (error) {
      this.#isPaused = false
      throw error
    }
    this.#isStopped = true // also where it was before, for another reason
    this.#watched.life.goOn()
    this.#watched.life.standStill({ hint: 'the VM is paused: vm.resume() lets it go on' })
  }

  /** QEMU tells of all that it does itself, but it may not get to run. */
  async #whySilent(): Promise<string | undefined> {
    const { host, qemu } = this.#watched.machine.engine
    const options = { timeoutMs: QMP_PATIENCE_MS }
    const answers = await this.#qmp.execute('query-status', undefined, options).then(
      () => true,
      () => false,
    )
    if (answers) return undefined
    const stat = await host.readFile(`/proc/${qemu.pid}/stat`).catch(() => '')
    const isStopped = /^.*\) [Tt] /.test(Buffer.from(stat).toString())
    return isStopped
      ? `QEMU itself was stopped by a signal: kill -CONT ${qemu.pid} lets it go on`
      : 'QEMU itself does not answer: it hangs or is frozen, or the machine is too busy'
  }

  get #qmp() {
    return this.#watched.machine.engine.qmp
  }

  #leave(): void {
    this.#own--
    if (this.#own === 0) this.#settling = this.#settle()
  }

  /** Takes what QEMU says of the present for what it is, whatever was said meanwhile. */
  async #settle(): Promise<void> {
    const options = { timeoutMs: QMP_PATIENCE_MS }
    const answer = await this.#qmp
      .execute('query-status', undefined, options)
      .catch(() => undefined)
    if (answer === undefined || this.#own > 0) return // gone, or the next step is under way
    this.#isStopped = !answer.running
    if (answer.running) this.#goesOn()
    else await this.#look()
    if (this.#isPortOpen === false) await this.#lookAtPort()
  }

  #hear(event: QmpEvent): void {
    switch (event.event) {
      case 'STOP':
      case 'SUSPEND':
        this.#isStopped = true
        void this.#look()
        break
      case 'RESUME':
      case 'WAKEUP':
        this.#goesOn()
        break
      case 'BLOCK_IO_ERROR': {
        const data = event.data as QmpEvents['BLOCK_IO_ERROR']
        if (data.action === 'stop') this.#ioError = data
        break
      }
      case 'VSERPORT_CHANGE':
        this.#port(event.data as QmpEvents['VSERPORT_CHANGE'])
        break
      case 'SHUTDOWN':
        this.#watched.shutDown((event.data as QmpEvents['SHUTDOWN']).reason)
        break
      case 'GUEST_PANICKED':
        this.#watched.panicked()
        break
      case 'GUEST_CRASHLOADED':
        this.#watched.crashLoaded()
        break
      default:
    }
  }

  #goesOn(): void {
    this.#isStopped = false
    this.#isMishap = false
    this.#isPaused = false
    this.#ioError = undefined
    this.#watched.life.goOn()
  }

  /** Finds out why the CPUs do not run. */
  async #look(): Promise<void> {
    const { machine, life } = this.#watched
    const { qmp, host, qemu } = machine.engine
    const answer = await qmp.execute('query-status').catch(() => undefined)
    if (answer === undefined || !this.#isStopped || answer.running) return
    const { status } = answer
    if (!isMishap(status) && (this.#own > 0 || this.#isPaused)) return
    this.#isMishap = isMishap(status)
    const why = await whyStopped(status, {
      ...{ host, qmp, where: machine.where, ioError: this.#ioError },
      complaints: () => qemu.complaints(),
    })
    if (this.#isStopped) life.standStill(why)
  }

  #port({ id, open }: QmpEvents['VSERPORT_CHANGE']): void {
    if (id !== AGENT_ID) return
    this.#isPortOpen = open
    if (open) this.#watched.machine.agent.found()
    else if (this.#own === 0) void this.#lookAtPort()
  }

  /** QEMU may tell late of a port that was closed and opened again. */
  async #lookAtPort(): Promise<void> {
    const { agent } = this.#watched.machine
    const chardevs = await this.#qmp.execute('query-chardev').catch(() => [])
    const port = chardevs.find(({ label }) => label === AGENT_ID)
    if (port === undefined || this.#own > 0) return
    this.#isPortOpen = port['frontend-open']
    if (this.#isPortOpen) agent.found()
    else if (agent.absent === undefined) agent.lose(() => this.#lossError())
  }

  #lossError(): GuestError {
    const { kernelLog, where } = this.#watched.machine
    const killed = kernelLog.text
      .split('\n')
      .findLast((line) => /Killed process \d+ \(vitest-dut/.test(line))
    const how = killed
      ? "was killed by the guest's kernel, for want of memory"
      : 'has ended, or lost its port'
    return new GuestError(`the agent in the guest ${how}`, {
      ...{ ...where, ...(killed && { tail: killed }) },
      hint: 'vm.cmd and vm.console go on without it; all else needs it, and vm.reset() starts it anew',
    })
  }
}
