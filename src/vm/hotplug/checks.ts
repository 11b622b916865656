import { UsageError } from '../../errors.ts'
import { needsSharedMemory } from '../../qemu/args.ts'
import type { Device } from '../../qemu/devices.ts'
import { hasSlots, SLOTS } from '../../qemu/machine-kind.ts'
import type { ResolvedSpec } from '../spec/spec.ts'

/** @throws UsageError where a VM of that spec cannot have that device plugged in */
export function checkPluggable(spec: ResolvedSpec, device: Device): void {
  const { name, memory } = spec
  if (typeof device?.kind !== 'string') {
    throw new UsageError(`${name}: plug: this is not a device`, {
      hint: `make it with link('lan'), vhostUser({ path }) or userNet({ forward: [22] })`,
    })
  }
  checkPorts(spec)
  if (device.kind === 'virtio-crypto') {
    throw new UsageError(`${name}: a crypto device cannot be plugged into a running VM`, {
      hint: 'give it to the VM at its start: devices: [virtioCrypto()]',
    })
  }
  if (device.kind === 'raw') {
    throw new UsageError(`${name}: raw arguments cannot be plugged into a running VM`, {
      hint: 'give them to it at its start: devices: [raw(…)]',
    })
  }
  if (needsSharedMemory([device]) && !memory.shared && memory.hugepages === false) {
    throw new UsageError(`${name}: a vhost-user device needs memory that is shared`, {
      hint: `start the VM with memory: { size: '${memory.size}', shared: true }`,
    })
  }
}

/** @throws UsageError where its machine has no ports to plug into and to unplug from */
export function checkPorts({ name, machine }: ResolvedSpec): void {
  if (hasSlots(machine)) return
  throw new UsageError(`${name}: a machine of type ${machine} has no ports for hot plug`, {
    hint: `leave machine out: a q35 has ${SLOTS}`,
  })
}

/** Whether it is in a port of its own, where the machine has them. */
export function hasPort({ kind }: Device): boolean {
  return kind !== 'raw' && kind !== 'virtio-crypto'
}
