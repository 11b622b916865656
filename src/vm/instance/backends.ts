import type { PlacedDevice } from '../../qemu/args.ts'
import type { Device } from '../../qemu/devices.ts'
import type { VmSite } from './host-services.ts'

/**
 * Gives each device what it needs of the DUT: an Ethernet address, a socket on its link's segment,
 * a tap, the host ports of its forwards.
 *
 * @param index the VM's number on its DUT
 * @param first the number of the first of them on the VM
 * @param ports one for each of `forwardsOf(devices)`, in that order
 */
export function placeDevices(
  devices: readonly Device[],
  {
    site,
    index,
    ports,
    first = 0,
  }: {
    site: Pick<VmSite, 'segment' | 'macPrefix'>
    index: number
    ports: readonly number[]
    first?: number
  },
): Promise<PlacedDevice[]> {
  const free = [...ports]
  return Promise.all(
    devices.map(async (device, i): Promise<PlacedDevice> => {
      if (!isNic(device)) return { device, mac: '' }
      const mac = device.mac ?? makeMac(site.macPrefix, index, first + i)
      if (device.kind === 'link') return { device, mac, segment: await site.segment(device.name) }
      if (device.kind === 'vhost-user') return { device, mac }
      if (device.kind === 'tap') return { device, mac, tap: device.name ?? makeTapName() }
      return { device, mac, hostPorts: free.splice(0, device.forwards.length) }
    }),
  )
}

/** Whether it is one of those that QEMU makes an Ethernet address for. */
export function isNic(
  device: Device,
): device is Exclude<Device, { kind: 'raw' | 'vfio' | 'virtio-crypto' }> {
  return !['raw', 'vfio', 'virtio-crypto'].includes(device.kind)
}

/** Devices of a machine that is to be saved: they are given what is theirs when it is restored. */
export function unconnectedDevices(devices: readonly Device[]): PlacedDevice[] {
  return devices.map((device) => ({ device, mac: '52:54:00:00:00:00' }))
}

/** The taps that QEMU makes, and their bridges: to be attached, and set up, once QEMU is there. */
export function tapsOf(placed: readonly PlacedDevice[]): { tap: string; bridge?: string }[] {
  return placed.flatMap(({ device, tap }) =>
    device.kind === 'tap' && device.name === undefined && tap !== undefined
      ? [{ tap, bridge: device.bridge }]
      : [],
  )
}

/** Random, for the names of a host's interfaces are shared by everybody on it: 11 bytes of 15. */
function makeTapName(): string {
  return `dut${crypto.randomUUID().slice(0, 8)}`
}

/**
 * One that is nobody's but its maker's (the bit 2 of the first byte), and unique on a segment: 14 bits for
 * the suite, which may share a bridge with others, 10 for the VM, 8 for the device.
 */
function makeMac(suite: number, vm: number, device: number): string {
  const bytes = [0x52, 0x54, suite >> 6, (suite << 2) | ((vm >> 8) & 3), vm, device]
  return bytes.map((byte) => (byte & 0xff).toString(16).padStart(2, '0')).join(':')
}
