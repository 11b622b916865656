import { GuestError, UsageError } from '../../errors.ts'
import type { GrantedLease } from '../../lease/admission/grant.ts'
import { attachTap, ensureBridge } from '../../lease/resources/bridge.ts'
import { bindVfio } from '../../lease/resources/pci.ts'
import { FORWARD_ADDRESS, type PlacedDevice } from '../../qemu/args.ts'
import type { Device } from '../../qemu/devices.ts'
import { machineKind, SLOTS } from '../../qemu/machine-kind.ts'
import { deviceId, pciAddress, plug, unplug } from '../../qemu/plug.ts'
import { stopSignal } from '../../scope.ts'
import { type Duration, parseDuration } from '../../units.ts'
import { placeDevices, tapsOf } from '../instance/backends.ts'
import { orDeath } from '../instance/exit-cause.ts'
import type { VmSite } from '../instance/host-services.ts'
import type { Machine } from '../instance/running-guest.ts'
import { needOfDevices } from '../spec/resources.ts'
import type { ResolvedSpec } from '../spec/spec.ts'
import { checkPluggable, checkPorts, hasPort } from './checks.ts'
import { awaitPlugged, type PluggedDevice } from './wait-for-guest.ts'

export interface PlugOptions {
  /** How long the guest may take; `'30s'` where none is given. */
  timeout?: Duration
}

interface PlugsOptions {
  /** The VM's number on its DUT. */
  index: number
  accel: 'kvm' | 'tcg'
}

interface Entry {
  placed?: PlacedDevice
  /** What it was promised of the host, beside what its VM was. */
  lease?: GrantedLease
}

const PATIENCE = '30s'

/** The devices of a running VM, those of its start and those that came later, by their numbers. */
export class Plugs {
  readonly #site: VmSite
  readonly #spec: ResolvedSpec
  readonly #machine: Machine
  readonly #options: PlugsOptions
  readonly #entries = new Map<number, Entry>()
  /** One at a time: the guest names its network interfaces in the order in which it sees them. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(site: VmSite, spec: ResolvedSpec, machine: Machine, options: PlugsOptions) {
    this.#site = site
    this.#spec = spec
    this.#machine = machine
    this.#options = options
    for (const [number, placed] of machine.devices.entries()) {
      if (hasPort(placed.device)) this.#entries.set(number, { placed })
      placed.number = number
    }
  }

  /** See `Vm.plug`. */
  plug(device: Device, options: PlugOptions = {}): Promise<PluggedDevice> {
    return this.inTurn(() => this.#plug(device, options))
  }

  /** See `Vm.unplug`. */
  unplug(device: string | { id: string }, options: PlugOptions = {}): Promise<void> {
    return this.inTurn(() => this.#unplug(device, options))
  }

  /** The devices that it has now, by their numbers. */
  get placed(): Map<number, PlacedDevice> {
    return new Map(
      [...this.#entries].flatMap(([number, { placed }]) => (placed ? [[number, placed]] : [])),
    )
  }

  /** Does something that must not be while devices come or go. */
  inTurn<T>(fn: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(fn)
    this.#last = turn.catch(() => {})
    return turn
  }

  /** The machine is in that QEMU now, with the same devices. */
  async settle(pid: number): Promise<void> {
    await Promise.all([...this.#entries.values()].map(({ lease }) => lease?.settle(pid)))
  }

  /** The machine is another one, with devices of its own; gives back what those before had. */
  async moved(before: readonly PlacedDevice[]): Promise<void> {
    const leases = [...this.#entries.values()].map(({ lease }) => lease)
    this.#entries.clear()
    for (const placed of this.#machine.devices) {
      const { number, device } = placed
      if (number !== undefined && hasPort(device)) this.#entries.set(number, { placed })
    }
    for (const { device, segment } of before) {
      if (device.kind === 'link' && segment) await this.#site.leaveSegment(device.name, segment)
    }
    await Promise.all(leases.map((lease) => lease?.release()))
  }

  /** See `Vm.forward`. */
  forward(port: number, protocol: 'tcp' | 'udp'): { host: string; port: number } {
    for (const { device, hostPorts = [] } of this.#machine.devices) {
      if (device.kind !== 'user-net') continue
      const at = device.forwards.findIndex((one) => one.port === port && one.protocol === protocol)
      const hostPort = hostPorts[at]
      if (hostPort !== undefined) return { host: FORWARD_ADDRESS, port: hostPort }
    }
    throw new UsageError(`${this.#spec.name} does not forward ${protocol} port ${port}`, {
      hint: `devices: [userNet({ forward: [${port}] })]`,
    })
  }

  /** Once QEMU is gone: gives back what was promised for devices that came later. */
  async release(): Promise<void> {
    await Promise.all([...this.#entries.values()].map(({ lease }) => lease?.release()))
  }

  async #plug(device: Device, { timeout = PATIENCE }: PlugOptions): Promise<PluggedDevice> {
    checkPluggable(this.#spec, device)
    this.#machine.agent.check()
    const timeoutMs = parseDuration(timeout, 'timeout')
    const { qmp, life, devices } = this.#machine
    const signal = stopSignal(life.signal)
    signal?.throwIfAborted()
    const number = this.#freeNumber()
    const entry: Entry = {}
    this.#entries.set(number, entry)
    try {
      const placed = await this.#place(device, number, entry)
      await plug(qmp, placed, {
        ...{ index: number, accel: this.#options.accel, backend: { timeoutMs, signal } },
        port: machineKind(this.#spec.machine).port?.(number),
        onConnected: () => this.#attachTaps(placed),
      })
      devices.push(placed)
    } catch (error) {
      await this.#forget(number).catch(() => {}) // what went wrong first is the one to tell
      throw await orDeath(error, this.#machine)
    }
    const pci = await pciAddress(qmp, number).catch(async (error) => {
      throw await orDeath(error, this.#machine)
    })
    const isNic = device.kind !== 'vfio'
    return awaitPlugged(this.#machine, { id: deviceId(number), pci, isNic, timeoutMs })
  }

  async #unplug(which: string | { id: string }, { timeout = PATIENCE }: PlugOptions) {
    checkPorts(this.#spec)
    this.#machine.agent.check()
    const timeoutMs = parseDuration(timeout, 'timeout')
    stopSignal(this.#machine.life.signal)?.throwIfAborted()
    const id = typeof which === 'string' ? which : which?.id
    const known = [...this.#entries].filter(([, { placed }]) => placed).map(([number]) => number)
    const number = known.find((one) => deviceId(one) === id)
    if (number === undefined) {
      const has = known.length > 0 ? `it has ${known.map(deviceId).join(', ')}` : 'it has none'
      throw new UsageError(`${this.#spec.name} has no device ${JSON.stringify(id)} to unplug`, {
        hint: `${has}; nic0, nic1, … are those of its start, in their order`,
      })
    }
    if (number >= SLOTS) {
      throw new UsageError(`${id} cannot be unplugged: it is not in one of the ${SLOTS} ports`, {
        hint: `only the first ${SLOTS} devices of a VM's start are`,
      })
    }
    await this.#remove(number, timeoutMs)
  }

  async #place(device: Device, number: number, entry: Entry): Promise<PlacedDevice> {
    const { host, name: dut } = this.#site.home
    const need = needOfDevices([device])
    const { ports = 0, pci = [], names = [], bridges = [] } = need
    if (ports + pci.length + names.length + bridges.length > 0) {
      entry.lease = await this.#site.lease({ ...need, dut, vm: this.#spec.name })
      await entry.lease.settle(this.#machine.qemu.pid)
    }
    for (const bound of entry.lease?.holding.pci ?? []) await bindVfio(host, bound)
    for (const bridge of bridges) await ensureBridge(host, bridge)
    const [placed] = await placeDevices([device], {
      ...{ site: this.#site, index: this.#options.index, first: number },
      ports: entry.lease?.holding.ports ?? [],
    })
    entry.placed = { ...(placed as PlacedDevice), number }
    return entry.placed
  }

  async #attachTaps(placed: PlacedDevice): Promise<void> {
    for (const { tap, bridge } of tapsOf([placed])) {
      await attachTap(this.#site.home.host, tap, bridge)
    }
  }

  async #remove(number: number, timeoutMs: number): Promise<void> {
    const { qmp, life, where, kernelLog } = this.#machine
    const id = deviceId(number)
    await unplug(qmp, number, {
      ...{ timeoutMs, signal: stopSignal(life.signal) },
      onTimeout: (elapsedMs) =>
        new GuestError(`the guest does not let go of ${id}`, {
          ...{ ...where, elapsedMs, tail: kernelLog.tail() },
          hint: 'is it paused, or does a driver not release it? Then call vm.unplug again',
        }),
    }).catch(async (error) => {
      throw await orDeath(error, this.#machine)
    })
    await this.#forget(number)
  }

  /** Gives back what a device had of the host, once QEMU has nothing of it any more. */
  async #forget(number: number): Promise<void> {
    const { devices } = this.#machine
    const { placed, lease } = this.#entries.get(number) ?? {}
    if (placed && devices.includes(placed)) devices.splice(devices.indexOf(placed), 1)
    if (placed?.device.kind === 'link' && placed.segment !== undefined) {
      await this.#site.leaveSegment(placed.device.name, placed.segment)
    }
    await lease?.release()
    this.#entries.delete(number)
  }

  #freeNumber(): number {
    for (let n = 0; n < SLOTS; n++) if (!this.#entries.has(n)) return n
    throw new UsageError(`${this.#spec.name} has no free port: ${SLOTS} devices at a time`, {
      hint: 'vm.unplug one first',
    })
  }
}
