import { atCallSite } from '../call-site.ts'
import type { Console } from '../console/console.ts'
import { type ExecOptions, type ExecResult, exec } from '../console/exec.ts'
import type { Pattern } from '../console/pattern.ts'
import type { Program, SpawnOptions } from '../console/program.ts'
import type { CmdOptions, CmdResult } from '../console/steps.ts'
import { UsageError } from '../errors.ts'
import type { Device } from '../qemu/devices.ts'
import type { Qmp } from '../qemu/qmp.ts'
import { defer } from '../scope.ts'
import type { Duration } from '../units.ts'
import { copyIn, copyOut } from './files.ts'
import type { VmHome } from './home.ts'
import type { Machine } from './launch.ts'
import type { VmParts } from './parts.ts'
import type { PlugOptions } from './plug.ts'
import type { PluggedDevice } from './plugged.ts'
import { end, powerOff } from './power.ts'
import { openSession, type Session } from './session.ts'
import { type Snapshot, Snapshots } from './snapshot.ts'
import { spawnProgram } from './spawn.ts'
import type { ResolvedSpec } from './spec.ts'

export type VmState = 'running' | 'paused' | 'stopped'

/** A running virtual machine. */
export class Vm implements AsyncDisposable {
  readonly name: string
  readonly dut: VmHome
  readonly spec: ResolvedSpec
  /** QEMU's process on the DUT. */
  readonly pid: number
  /** How it came to be: from its kernel on, or restored from a template. */
  readonly startedBy: 'cold' | 'clone'
  /** Milliseconds from QEMU's start to the first answer of the guest's shell. */
  readonly bootMs: number
  /** The guest's terminal hvc0, raw: for programs that talk. */
  readonly console: Console
  readonly #parts: VmParts
  readonly #snapshots: Snapshots
  #paused = false
  #stopping: Promise<void> | undefined
  #sessions = 0

  constructor(parts: VmParts) {
    const { home, spec, machine, bootMs, startedBy } = parts
    this.#parts = parts
    this.name = spec.name
    this.dut = home
    this.spec = spec
    this.pid = machine.qemu.pid
    this.bootMs = bootMs
    this.startedBy = startedBy
    this.console = machine.console
    this.#snapshots = new Snapshots(machine, parts.shell, parts.dir)
  }

  get state(): VmState {
    if (this.#machine.life.ended.aborted) return 'stopped'
    return this.#paused ? 'paused' : 'running'
  }

  /** What the guest's kernel said since its start. */
  get kernelLog(): string {
    return this.#machine.kernelLog.text
  }

  /** Aborted, with the cause as its reason, when the VM is gone. */
  get gone(): AbortSignal {
    return this.#machine.life.ended
  }

  /**
   * Types commands into the guest's shell, one after another, each once the one before it was met.
   *
   * @param expects what each command is to print, literally or as an expression; `''` expects nothing
   *   special: the command ends when the shell is back
   * @param timeouts how long each may take: milliseconds, or strings like `'5s'`; 30 s by default
   * @throws CommandTimeoutError naming the step that was not met in time; those behind it are not sent
   * @throws UsageError when the lists differ in length or a value is not what it should be
   */
  cmd(
    commands: string | readonly string[],
    expects?: Pattern | readonly Pattern[],
    timeouts?: Duration | readonly Duration[],
    options?: CmdOptions,
  ): Promise<CmdResult> {
    return atCallSite(this.cmd, () => this.#parts.shell.cmd(commands, expects, timeouts, options))
  }

  /**
   * Runs one shell command in a subshell of a bash of the guest's, without a terminal and beside
   * whatever the console does. Bytes arrive exact, whatever they are and however many.
   *
   * @throws CommandTimeoutError when it has not ended in time; it is killed then
   * @throws CommandFailedError with `check: true`, when its status is not 0
   */
  exec(command: string, options?: ExecOptions): Promise<ExecResult> {
    return atCallSite(this.exec, () => exec(this.#machine, command, options))
  }

  /** A further independent shell in the same guest; closed with the test that opened it. */
  session(name = `session${++this.#sessions}`): Promise<Session> {
    return atCallSite(this.session, async () => {
      const session = await openSession(this.#machine, name)
      defer(() => session.close())
      return session
    })
  }

  /**
   * Starts an interactive program on a terminal of its own and waits for its prompt, if it has one.
   * It ends with the test that started it, or else with the VM.
   *
   * @throws GuestError when it ends, CommandTimeoutError when its prompt does not come in time
   */
  spawn(command: string, options: SpawnOptions = {}): Promise<Program> {
    return atCallSite(this.spawn, async () => {
      const program = await spawnProgram(this.#machine, command, options)
      defer(() => program.close())
      return program
    })
  }

  /** A QMP command. @throws QmpError when QEMU refuses it */
  get qmp(): Qmp['execute'] {
    return this.#machine.qmp.execute
  }

  /** QMP's events from now on. */
  get events(): ReturnType<Qmp['events']> {
    return this.#machine.qmp.events()
  }

  /**
   * Where the host reaches a guest port that a `userNet` forwards.
   *
   * @throws UsageError when the port is not forwarded
   */
  forward(port: number, protocol: 'tcp' | 'udp' = 'tcp'): { host: string; port: number } {
    return this.#parts.plugs.forward(port, protocol)
  }

  /**
   * Plugs a device in, for the VM's life or until it is unplugged; resolves when the guest has it.
   *
   * @throws InfrastructureError when QEMU refuses, GuestError when the guest does not see it in time
   * @throws UsageError for a device that cannot be plugged into this VM, or where no port is free
   */
  plug(device: Device, options?: PlugOptions): Promise<PluggedDevice> {
    return atCallSite(this.plug, () => this.#parts.plugs.plug(device, options))
  }

  /**
   * Unplugs a device: one that was plugged in, or `'nic0'`, `'nic1'`, … of the VM's start. Resolves when
   * the guest has let go of it and nothing of it is left in QEMU.
   *
   * @throws GuestError when the guest does not let go in time, UsageError when there is none of that id
   */
  unplug(device: string | { id: string }, options?: PlugOptions): Promise<void> {
    return atCallSite(this.unplug, () => this.#parts.plugs.unplug(device, options))
  }

  /** Writes a file into the guest; checked by its SHA-256. Folders are made as needed. */
  copyIn(data: string | Uint8Array, path: string, { mode = 0o644 } = {}): Promise<void> {
    return atCallSite(this.copyIn, () => copyIn(this.#machine, data, path, mode))
  }

  /** Reads a file of the guest; checked by its SHA-256. */
  copyOut(path: string): Promise<Uint8Array> {
    return atCallSite(this.copyOut, () => copyOut(this.#machine, path))
  }

  /**
   * Keeps the guest as it is now, memory, files and all that runs in it, to be taken back there by
   * {@link restore}. It is dropped with the test that took it, or else with the VM.
   *
   * @throws GuestError when programs in the guest print without end
   * @throws InfrastructureError when QEMU cannot save it, as with a device of the host's in it
   * @throws UsageError while it is paused
   */
  async snapshot(): Promise<Snapshot> {
    if (this.#paused) {
      throw new UsageError(`${this.name}: a VM that is paused cannot be kept`, {
        hint: 'vm.resume() first: its guest is asked whether it has said all',
      })
    }
    const snapshot = await this.#snapshots.take()
    defer(() => snapshot.drop())
    return snapshot
  }

  /**
   * Takes the guest back to a snapshot of it, in a fraction of a second. Commands, sessions and programs
   * that are under way end with an error; the clock is right, and random numbers are other ones than
   * the first time.
   *
   * @throws UsageError for a snapshot of another VM, or one that was dropped
   * @throws GuestError when the guest does not answer afterwards
   */
  async restore(snapshot: Snapshot): Promise<void> {
    await this.#snapshots.restore(snapshot)
    this.#paused = false
  }

  /** Stops the virtual CPUs. */
  async pause(): Promise<void> {
    await this.#machine.qmp.execute('stop')
    this.#paused = true
  }

  async resume(): Promise<void> {
    await this.#machine.qmp.execute('cont')
    this.#paused = false
  }

  /** Asks the guest to power itself off, and waits until it has. */
  async shutdown({ timeout = '30s' }: { timeout?: Duration } = {}): Promise<void> {
    await powerOff(this.#machine, timeout)
    await this.stop()
  }

  /**
   * Ends QEMU: in order, or by force where that takes too long. Resolves when nothing is left and what
   * it had of the host is free.
   */
  stop(): Promise<void> {
    this.#stopping ??= end(this.#parts)
    return this.#stopping
  }

  /** Kills QEMU, as a power cut would end the guest. Resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#machine.qemu.kill()
    await this.#machine.qemu.exited
  }

  /** Rejects what waits on this VM now, because what it leans on broke. */
  alarm(cause: Error): void {
    this.#machine.life.alarm(cause)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  get #machine(): Machine {
    return this.#parts.machine
  }
}
