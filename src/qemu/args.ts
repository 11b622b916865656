import { parseSize, type Size } from '../units.ts'
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
import { deviceOption, optionValue, socketArgs } from './option-value.ts'
import { segmentNetdevOption } from './segment.ts'

/** Everything that shapes one QEMU's argument list. Paths are the DUT's. */
export interface MachineShape {
  name: string
  qemu: string
  machine: string
  accel: 'kvm' | 'tcg'
  cpu: { model?: string; count: number; sockets?: number; cores?: number; threads?: number }
  memory: {
    size: Size
    shared: boolean
    hugepages: false | true | '2M' | '1G'
    node?: number
    /** A file that it is: `share` writes into it, otherwise it is only where the memory begins with. */
    file?: { path: string; share: boolean }
  }
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
    ...['-machine', `${machine},memory-backend=ram`],
    ...accelArgs(shape),
    ...memoryArgs(shape),
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...kernelArgs(boot),
    ...socketArgs('qmp', sockets.qmp),
    ...['-mon', 'chardev=qmp,mode=control'],
    ...serialArgs(boot, sockets),
    ...slotArgs(machine),
    ...virtioSerialArgs(boot, sockets),
    ...rootArgs(boot),
    ...diskArgs(shape.disks),
    ...shape.devices.flatMap((placed, i) => deviceArgs(placed, placed.number ?? i, shape)),
    ...(shape.incoming ? ['-incoming', 'defer'] : []),
    ...shape.extraArgs,
  ]
}

function accelArgs({ accel, cpu }: MachineShape): string[] {
  const { count, model, sockets, cores, threads } = cpu
  const topology = Object.entries({ sockets, cores, threads }).filter(([, n]) => n !== undefined)
  return [
    ...['-accel', accel === 'tcg' ? 'tcg,thread=multi' : 'kvm'],
    // DPDK in Debian needs SSE4.2, which QEMU's default model does not have.
    ...['-cpu', model ?? (accel === 'tcg' ? 'max' : 'host')],
    ...['-smp', [`cpus=${count}`, ...topology.map(([key, n]) => `${key}=${n}`)].join(',')],
  ]
}

/** How many devices can be plugged into a running machine. */
export const SLOTS = 8

/** Whether devices can be plugged into a machine of that type: PCI Express needs a free port for each. */
export function hasSlots(machine: string): boolean {
  return /^(pc-)?q35/.test(machine)
}

/** The port of a number, into which a device is plugged. */
export function slotOf(index: number): string {
  return `slot${index}`
}

// All in one place, so that there is room for what users give an addr of their own; and the first, for
// the guest numbers its NICs in that order.
const SLOTS_AT = 1

function slotArgs(machine: string): string[] {
  if (!hasSlots(machine)) return []
  return Array.from({ length: SLOTS }, (_, i) => {
    const at = `addr=${SLOTS_AT}.${i}${i === 0 ? ',multifunction=on' : ''}`
    return ['-device', `pcie-root-port,id=${slotOf(i)},chassis=${i + 1},slot=${i + 1},${at}`]
  }).flat()
}

/** Guest memory gives its pages back by itself: a memfd has no name that could stay behind. */
function memoryArgs({ memory }: MachineShape): string[] {
  const { size, shared, hugepages, node, file } = memory
  const bytes = parseSize(size, 'memory')
  const placement = node === undefined ? '' : `,host-nodes=${node},policy=bind`
  const pages = hugepages === false ? '' : `,hugetlb=on,prealloc=on${pageSize(hugepages)}`
  if (file) {
    const path = `mem-path=${optionValue(file.path)},share=${file.share ? 'on' : 'off'}`
    const backend = `memory-backend-file,id=ram,size=${bytes},${path}${placement}`
    return ['-m', `${bytes / 2 ** 20}M`, '-object', backend]
  }
  const backend =
    shared || hugepages !== false
      ? `memory-backend-memfd,id=ram,size=${bytes},share=on${pages}${placement}`
      : `memory-backend-ram,id=ram,size=${bytes}${placement}`
  return ['-m', `${bytes / 2 ** 20}M`, '-object', backend]
}

function pageSize(hugepages: true | '2M' | '1G'): string {
  return hugepages === true ? '' : `,hugetlbsize=${hugepages}`
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
  /** The port that it goes to; QEMU's choice where none is given. */
  bus?: string
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
  { accel, bus, unconnected = false }: DeviceOptions,
): string {
  const port = { id: `nic${index}`, ...(bus !== undefined && { bus }) }
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
  const bus = hasSlots(machine) && index < SLOTS ? { bus: slotOf(index) } : {}
  const option = ['-device', deviceOptionOf(placed, index, { accel, ...bus, unconnected })]
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
