import { atCallSite } from '../call-site.ts'
import { UsageError } from '../errors.ts'
import type { Device } from '../qemu/devices.ts'
import type { Qmp } from '../qemu/qmp.ts'
import { defer } from '../scope.ts'
import type { Duration } from '../units.ts'
import { GuestAccess } from './guest-access.ts'
import type { VmHome } from './home.ts'
import type { Machine } from './machine.ts'
import type { VmParts } from './parts.ts'
import type { PlugOptions } from './plug.ts'
import type { PluggedDevice } from './plugged.ts'
import { type Port, portsOf } from './ports.ts'
import { end, powerOff } from './power.ts'
import { type Snapshot, Snapshots } from './snapshot.ts'
import type { ResolvedSpec } from './spec.ts'

export type VmState = 'running' | 'paused' | 'stopped'

/** A running virtual machine. */
export class Vm extends GuestAccess implements AsyncDisposable {
  readonly name: string
  readonly dut: VmHome
  readonly spec: ResolvedSpec
  /** QEMU's process on the DUT. */
  readonly pid: number
  /** How it came to be: from its kernel on, or restored from a template. */
  readonly startedBy: 'cold' | 'clone'
  /** Milliseconds from QEMU's start to the first answer of the guest's shell. */
  readonly bootMs: number
  readonly #parts: VmParts
  readonly #snapshots: Snapshots
  #paused = false
  #stopping: Promise<void> | undefined

  constructor(parts: VmParts) {
    const { home, spec, machine, shell, bootMs, startedBy } = parts
    super(machine, shell)
    this.#parts = parts
    this.name = spec.name
    this.dut = home
    this.spec = spec
    this.pid = machine.qemu.pid
    this.bootMs = bootMs
    this.startedBy = startedBy
    this.#snapshots = new Snapshots(machine, shell, parts.dir)
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
   * The guest's network ports by their PCI address, and what each is wired to; `peer` is undefined where
   * that cannot be known, as with a NIC that `raw` made.
   */
  ports(): Promise<Port[]> {
    return atCallSite(this.ports, () => {
      const { qmp } = this.#machine
      return portsOf(this, { qmp, placed: this.#parts.plugs.placed })
    })
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
