import { atCallSite } from '../call-site.ts'
import { UsageError } from '../errors.ts'
import type { Device } from '../qemu/devices.ts'
import type { Qmp } from '../qemu/qmp.ts'
import { defer } from '../scope.ts'
import type { Duration } from '../units.ts'
import { GuestAccess } from './guest-access.ts'
import type { PlugOptions } from './hotplug/hotplug.ts'
import type { PluggedDevice } from './hotplug/wait-for-guest.ts'
import type { VmHome } from './instance/host-services.ts'
import type { Machine } from './instance/running-guest.ts'
import { keepParts, type VmParts } from './lifecycle/internals.ts'
import { end, powerOff } from './lifecycle/power.ts'
import type { RestartOptions } from './lifecycle/restart.ts'
import type { Snapshot, Snapshots } from './lifecycle/snapshot.ts'
import type { MigrateOptions, Migration } from './migration/options.ts'
import type { Port } from './network/ports.ts'
import { type PortsOptions, portsOrDetect } from './network/topology.ts'
import type { ResolvedSpec } from './spec/spec.ts'
import { Moves } from './transitions.ts'

export type VmState = 'running' | 'paused' | 'stopped'

/** A running virtual machine. */
export class Vm extends GuestAccess implements AsyncDisposable {
  readonly name: string
  readonly dut: VmHome
  readonly spec: ResolvedSpec
  /** How it came to be: from its kernel on, or restored from a template. */
  readonly startedBy: 'cold' | 'clone'
  /** Milliseconds from QEMU's start to the first answer of the guest's shell. */
  readonly bootMs: number
  readonly #parts: VmParts
  readonly #snapshots: Snapshots
  readonly #moves: Moves
  #stopping: Promise<void> | undefined

  constructor(parts: VmParts) {
    const { home, spec, machine, shell, bootMs, startedBy } = parts
    super(machine, shell)
    this.#parts = parts
    keepParts(this, parts)
    this.name = spec.name
    this.dut = home
    this.spec = spec
    this.bootMs = bootMs
    this.startedBy = startedBy
    this.#snapshots = parts.snapshots
    this.#moves = new Moves(parts)
  }

  /** QEMU's process on the DUT; another one after {@link migrate} and {@link restart}. */
  get pid(): number {
    return this.#machine.qemu.pid
  }

  get state(): VmState {
    if (this.#machine.life.ended.aborted) return 'stopped'
    return this.#machine.runs.isPaused ? 'paused' : 'running'
  }

  /** What the guest's kernel said since its start. */
  get kernelLog(): string {
    return this.#machine.kernelLog.text
  }

  /** Aborted, with the cause as its reason, when the VM is gone. */
  get gone(): AbortSignal {
    return this.#machine.life.ended
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
   * The guest's network ports by their PCI address, and what each is wired to as it was configured.
   *
   * @param options.detect looks on the wire, too, as {@link detectTopology} does with all VMs of the DUT
   */
  ports(options: PortsOptions = {}): Promise<Port[]> {
    return atCallSite(this.ports, () => portsOrDetect(this, options))
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

  /**
   * Keeps the guest as it is now, memory, files and all that runs in it, to be taken back there by
   * {@link restore}. It is dropped with the test that took it, or else with the VM.
   *
   * @throws GuestError when programs in the guest print without end
   * @throws InfrastructureError when QEMU cannot save it, as with a device of the host's in it
   * @throws UsageError while it is paused
   */
  async snapshot(): Promise<Snapshot> {
    this.#mustRun('kept')
    this.#moves.check('snapshot')
    const snapshot = await this.#machine.runs.own(() => this.#snapshots.take())
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
    this.#moves.check('restore')
    await this.#machine.runs.own(() => this.#snapshots.restore(snapshot))
  }

  /**
   * Moves the guest into a second QEMU on its DUT while it runs, and ends the one that it was in. All
   * goes on: commands under way, sessions, programs, devices. It runs on where it was when that fails.
   *
   * @throws InfrastructureError with what the second QEMU said, when it took too long, was cancelled, or
   *   the DUT cannot have two such VMs
   * @throws UsageError for a bad option, while it is paused, or for a VM that cannot be migrated
   */
  migrate(options: MigrateOptions = {}): Promise<Migration> {
    return atCallSite(this.migrate, async () => {
      this.#mustRun('migrated')
      return this.#moves.migrate(options)
    })
  }

  /**
   * Resets the machine, as its button would, and waits until the guest that boots anew answers.
   * Commands, sessions and programs that are under way end with an error.
   *
   * @param options.timeout until its shell answers; `'120s'` where none is given
   * @throws GuestError when it does not in time, with its kernel's last lines
   */
  async reset({ timeout = '120s' }: { timeout?: Duration } = {}): Promise<void> {
    this.gone.throwIfAborted()
    await this.#moves.reset(timeout)
  }

  /**
   * Has the guest power itself off, and boots it in a new QEMU, with the devices that it has now. What
   * is under way ends with an error.
   *
   * @throws GuestError when it does not power itself off, and runs on, or does not come up again
   * @throws InfrastructureError when QEMU refuses to start again: the VM is gone then
   * @throws UsageError while it is paused
   */
  async restart(options: RestartOptions = {}): Promise<void> {
    this.#mustRun('restarted')
    await this.#moves.restart(options)
  }

  /** Stops the virtual CPUs. */
  async pause(): Promise<void> {
    this.gone.throwIfAborted()
    this.#moves.check('pause')
    await this.#machine.runs.pause()
  }

  async resume(): Promise<void> {
    this.gone.throwIfAborted()
    this.#moves.check('resume')
    await this.#machine.qmp.execute('cont')
  }

  /** Asks the guest to power itself off, and waits until it has. */
  async shutdown({ timeout = '30s' }: { timeout?: Duration } = {}): Promise<void> {
    this.#mustRun('shut down')
    this.#moves.check('shutdown')
    await powerOff(this.#machine, timeout)
    await this.stop()
  }

  /**
   * Ends QEMU: in order, or by force where that takes too long. Resolves when nothing is left and what
   * it had of the host is free.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#moves.cancel().then(() => end(this.#parts))
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

  #mustRun(what: string): void {
    this.gone.throwIfAborted()
    if (this.state !== 'paused') return
    const { still } = this.#machine.life
    throw new UsageError(`${this.name}: a VM that is paused cannot be ${what}`, {
      hint: still?.cause ? still.hint : 'vm.resume() first: the guest has a part in it',
      cause: still?.cause,
    })
  }

  get #machine(): Machine {
    return this.#parts.machine
  }
}
