import { InfrastructureError, UsageError } from '../errors.ts'
import { deviceOptionOf, FORWARD_ADDRESS, type PlacedDevice } from './args.ts'
import type { Qmp } from './qmp.ts'
import { segmentNetdev } from './segment.ts'

interface PlugOptions {
  /** The device's number on the VM. */
  index: number
  accel: 'kvm' | 'tcg'
  /** The free port that it goes to: `slot0` and so on. */
  bus: string
}

/**
 * Plugs a device into a running machine: what it is connected to, then the device itself. The guest
 * is told, and sees it some time later.
 *
 * @throws InfrastructureError with QEMU's words when it refuses
 * @throws UsageError for raw arguments, which are only for QEMU's start
 */
export async function plug(qmp: Qmp, placed: PlacedDevice, options: PlugOptions): Promise<void> {
  const { index, accel, bus } = options
  await connectBackend(qmp, placed, index)
  // The monitor for people takes the same text as QEMU's command line, so that a property written
  // 'on' means the same in both.
  const line = `device_add ${deviceOptionOf(placed, index, accel)},bus=${bus}`
  const refusal = await qmp.execute('human-monitor-command', { 'command-line': line })
  if (refusal.trim() !== '') {
    throw new InfrastructureError(`QEMU plugs no such device: ${refusal.trim()}`, { command: line })
  }
}

async function connectBackend(qmp: Qmp, placed: PlacedDevice, index: number): Promise<void> {
  const { device, segment = '', tap, hostPorts = [] } = placed
  const id = `net${index}`
  switch (device.kind) {
    case 'link':
      await qmp.execute('netdev_add', segmentNetdev(id, segment))
      return
    case 'tap': {
      const files = { ifname: tap, script: 'no', downscript: 'no' }
      await qmp.execute('netdev_add', { type: 'tap', id, ...files })
      return
    }
    case 'user-net': {
      const hostfwd = device.forwards.map(({ port, protocol }, i) => {
        return { str: `${protocol}:${FORWARD_ADDRESS}:${hostPorts[i]}-:${port}` }
      })
      await qmp.execute('netdev_add', { type: 'user', id, ...(hostfwd.length > 0 && { hostfwd }) })
      return
    }
    case 'vhost-user': {
      const { path, server = false, queues = 1 } = device
      const addr = { type: 'unix', data: { path } }
      const data = { addr, server, ...(server && { wait: false }) }
      const chardev = `vhost${index}`
      await qmp.execute('chardev-add', { id: chardev, backend: { type: 'socket', data } })
      await qmp.execute('netdev_add', { type: 'vhost-user', id, chardev, queues })
      return
    }
    case 'vfio':
      return
    case 'raw':
      throw new UsageError('raw arguments cannot be plugged into a running VM', {
        hint: 'give them to the VM at its start',
      })
  }
}
