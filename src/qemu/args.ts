import { cryptoArgs } from './crypto.ts'
import type { Device, Property } from './devices.ts'
import { type Disk, diskArgs } from './disks.ts'
import {
  type Boot,
  type GuestSockets,
  kernelArgs,
  rootArgs,
  serialArgs,
  virtioSerialArgs,
} from './guest-args.ts'
import { machineKind, machineOption, SLOTS } from './machine-kind.ts'
import { type MemoryShape, memoryArgs } from './memory-args.ts'
import { deviceOption, optionValue, socketArgs } from './option-value.ts'
import { segmentNetdevOption } from './segment.ts'

/** Everything that shapes one QEMU's argument list. Paths are the DUT's. */
export interface MachineShape {
  name: string
  qemu: string
  machine: string
  accel: 'kvm' | 'tcg'
  cpu: { model?: string; count: number; sockets?: number; cores?: number; threads?: number }
  memory: MemoryShape
  boot: Boot
  sockets: GuestSockets & { qmp: string }
  devices: readonly PlacedDevice[]
  disks: readonly Disk[]
  /** Its NICs are connected to nothing: a machine that is to be saved. */
  unconnected?: boolean
  /** Waits for a saved machine, which it then is. */
  incoming?: boolean
  extraArgs: readonly string[]
}

/** A device and what the DUT gave it. */
export interface PlacedDevice {
  device: Device
  /** Its number on the VM; where none is given, its place in the list. */
  number?: number
  /** Ethernet address of a virtio NIC, empty for other devices. */
  mac: string
  /** Unix socket of the link's segment. */
  segment?: string
  /** The tap that QEMU makes, or one that is there already. */
  tap?: string
  /** Host ports of the forwards, in their order, and the address they are on. */
  hostPorts?: readonly number[]
}

/** The address on which forwarded ports listen: nobody outside the host reaches a guest. */
export const FORWARD_ADDRESS = '127.0.0.1'

/**
 * QEMU's arguments, without the program. The guest's terminal is QEMU's standard input and output; QMP,
 * the agent and the built-in guest's kernel messages come through sockets that we listen at.
 */
export function qemuArgs(shape: MachineShape): string[] {
  const { name, machine, boot, sockets } = shape
  return [
    ...['-name', optionValue(name)],
    ...['-machine', machineOption(machine)],
    ...accelArgs(shape),
    ...memoryArgs(shape.memory, shape.accel),
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...kernelArgs(boot),
    ...socketArgs('qmp', sockets.qmp),
    ...['-mon', 'chardev=qmp,mode=control'],
    ...serialArgs(boot, sockets),
    ...machineKind(machine).ports,
    ...panicArgs(shape),
    ...virtioSerialArgs(boot, sockets),
    ...rootArgs(boot),
    ...diskArgs(shape.disks),
    ...shape.devices.flatMap((placed, i) => deviceArgs(placed, placed.number ?? i, shape)),
    ...(shape.incoming ? ['-incoming', 'defer'] : []),
    ...shape.extraArgs,
  ]
}

/** The device that tells of panics; a machine has one, which may be the user's. */
function panicArgs({ machine, extraArgs }: MachineShape): string[] {
  const { panic } = machineKind(machine)
  if (panic === undefined || extraArgs.some((arg) => arg.startsWith('pvpanic'))) return []
  return ['-device', panic]
}

function accelArgs({ accel, cpu, machine }: MachineShape): string[] {
  const { count, model, sockets, cores, threads } = cpu
  const topology = Object.entries({ sockets, cores, threads }).filter(([, n]) => n !== undefined)
  return [
    ...['-accel', accel === 'tcg' ? 'tcg,thread=multi' : 'kvm'],
    ...['-cpu', model ?? (accel === 'tcg' ? machineKind(machine).cpu : 'host')],
    ...['-smp', [`cpus=${count}`, ...topology.map(([key, n]) => `${key}=${n}`)].join(',')],
  ]
}

/** Whether any device needs memory that another process can map. */
export function needsSharedMemory(devices: readonly Device[]): boolean {
  return devices.some(
    (device) =>
      device.kind === 'vhost-user' ||
      (device.kind === 'virtio-crypto' && device.path !== undefined),
  )
}

interface DeviceOptions {
  accel: 'kvm' | 'tcg'
  /** Where it goes; QEMU's choice where nothing is given. */
  port?: Record<string, Property>
  /** Connected to nothing. */
  unconnected?: boolean
}

/**
 * The option of QEMU's `-device` for a device; what it is connected to comes before it.
 *
 * @param index its number on the VM
 */
export function deviceOptionOf(
  { device, mac }: PlacedDevice,
  index: number,
  { accel, port: place, unconnected = false }: DeviceOptions,
): string {
  const port = { id: `nic${index}`, ...place }
  if (device.kind === 'raw' || device.kind === 'virtio-crypto') {
    throw new Error(`${device.kind} has no option of its own`)
  }
  if (device.kind === 'vfio') {
    return deviceOption('vfio-pci', { host: device.address, ...port, ...device.properties })
  }
  const made = device.kind === 'vhost-user' ? vhostProperties(device.queues, accel) : {}
  const options = {
    ...{ ...(!unconnected && { netdev: `net${index}` }), ...port, mac, ...made },
    ...device.properties,
  }
  return deviceOption('virtio-net-pci', options)
}

function deviceArgs(
  placed: PlacedDevice,
  index: number,
  { accel, machine, unconnected }: MachineShape,
): string[] {
  const { device } = placed
  if (device.kind === 'raw') return [...device.args]
  if (device.kind === 'virtio-crypto') return cryptoArgs(device, index, { accel })
  // In a port of its own even if it is there from the start: so its address, and whether it is a
  // virtio 1 device, are the same as when it is plugged in later.
  const port = index < SLOTS ? machineKind(machine).port?.(index) : undefined
  const option = ['-device', deviceOptionOf(placed, index, { accel, port, unconnected })]
  if (device.kind === 'vfio' || unconnected) return option
  return [...backendArgs(device, placed, index), ...option]
}

/** What the NIC of that number is connected to. */
function backendArgs(
  device: Exclude<Device, { kind: 'raw' | 'vfio' | 'virtio-crypto' }>,
  { segment = '', tap, hostPorts = [] }: PlacedDevice,
  index: number,
): string[] {
  const id = `net${index}`
  switch (device.kind) {
    case 'link':
      return ['-netdev', segmentNetdevOption(id, segment)]
    case 'tap':
      // By default QEMU runs /etc/qemu-ifup, which is anything.
      return ['-netdev', `tap,id=${id},ifname=${tap},script=no,downscript=no`]
    case 'user-net': {
      const forwards = device.forwards.map(
        ({ port, protocol }, i) =>
          `,hostfwd=${protocol}:${FORWARD_ADDRESS}:${hostPorts[i]}-:${port}`,
      )
      return ['-netdev', `user,id=${id}${forwards.join('')}`]
    }
    case 'vhost-user': {
      const { path, server, queues = 1 } = device
      return [
        ...socketArgs(`vhost${index}`, path, { server }),
        ...['-netdev', `vhost-user,id=${id},chardev=vhost${index},queues=${queues}`],
      ]
    }
  }
}

function vhostProperties(queues = 1, accel: 'kvm' | 'tcg'): Record<string, Property> {
  return {
    ...(queues > 1 && { mq: true }),
    // With MSI-X, QEMU 7.2 under TCG hangs in the guest's virtio_net probe (control queue).
    ...(accel === 'tcg' ? { vectors: 0 } : queues > 1 ? { vectors: 2 * queues + 2 } : {}),
  }
}
