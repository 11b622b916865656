import type { Device } from './devices.ts'
import { deviceOption, socketArgs } from './option-value.ts'

/** QEMU's arguments for a crypto device. @param index its number on the VM */
export function cryptoArgs(
  { path, server, queues = 1, properties }: Extract<Device, { kind: 'virtio-crypto' }>,
  index: number,
  { accel }: { accel: 'kvm' | 'tcg' },
): string[] {
  const id = `crypto${index}`
  const backend =
    path === undefined
      ? ['-object', `cryptodev-backend-builtin,id=${id}`]
      : [
          ...socketArgs(`vhost${index}`, path, { server }),
          ...['-object', `cryptodev-vhost-user,id=${id},chardev=vhost${index},queues=${queues}`],
        ]
  const made = {
    cryptodev: id,
    // With MSI-X, QEMU 7.2 under TCG hangs where a vhost-user backend has the queues.
    ...(path !== undefined && accel === 'tcg' && { vectors: 0 }),
  }
  return [...backend, '-device', deviceOption('virtio-crypto-pci', { ...made, ...properties })]
}
