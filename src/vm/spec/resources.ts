import type { Need } from '../../lease/resources/needs.ts'
import type { PortRange } from '../../lease/resources/ports.ts'
import type { Device, Forward } from '../../qemu/devices.ts'
import { parseSize } from '../../units.ts'
import type { ResolvedSpec } from './spec.ts'

/** What a VM needs of its host before it can start. */
export function needOf(
  { name, memory, cpus, devices }: ResolvedSpec,
  { dut, dir, portRange }: { dut: string; dir: string; portRange?: PortRange },
): Need {
  const { hugepages, node } = memory
  const where = node === undefined ? {} : { node }
  const bytes = parseSize(memory.size)
  const { count, pin } = cpus
  return {
    ...{ dut, vm: name, dir },
    ...(hugepages === false
      ? { memory: bytes }
      : { pages: { ...(hugepages !== true && { size: hugepages }), bytes, ...where } }),
    ...(pin !== undefined && { cores: pin === 'auto' ? { count, ...where } : { list: pin } }),
    ...(portRange && { portRange }),
    ...needOfDevices(devices),
  }
}

/** The part of it that is its devices'. */
export function needOfDevices(
  devices: readonly Device[],
): Pick<Need, 'ports' | 'pci' | 'names' | 'bridges'> {
  return {
    ports: forwardsOf(devices).length,
    pci: devices.flatMap((device) => (device.kind === 'vfio' ? [device.address] : [])),
    // A tap that was there before us is one VM's at a time.
    names: devices.flatMap((device) =>
      device.kind === 'tap' && device.name !== undefined ? [`tap ${device.name}`] : [],
    ),
    bridges: devices.flatMap((device) =>
      device.kind === 'tap' && device.bridge !== undefined ? [device.bridge] : [],
    ),
  }
}

/** The guest ports that the devices forward, in the order in which host ports are handed out. */
export function forwardsOf(devices: readonly Device[]): Required<Forward>[] {
  return devices.flatMap((device) => (device.kind === 'user-net' ? device.forwards : []))
}
