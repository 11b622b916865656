import type { ResolvedSpec } from '../spec/spec.ts'
import { placeDevices, unconnectedDevices } from './backends.ts'
import type { VmSite } from './host-services.ts'
import { type EngineOptions, startEngine } from './qemu-instance.ts'
import { Machine } from './running-guest.ts'

export interface LaunchOptions extends Omit<EngineOptions, 'devices'> {
  index: number
  /** The guest's init reports where it is. */
  onStage: (stage: string) => void
}

/**
 * Starts QEMU with the devices of the spec, and listens to its guest.
 *
 * @throws InfrastructureError with QEMU's own words when it refuses
 */
export async function launch(
  site: VmSite,
  spec: ResolvedSpec,
  { index, onStage, ...options }: LaunchOptions,
): Promise<Machine> {
  const { ports } = options.lease.holding
  const devices = options.unconnected
    ? unconnectedDevices(spec.devices)
    : await placeDevices(spec.devices, { site, index, ports })
  return new Machine(await startEngine(site, spec, { ...options, devices }), onStage)
}
