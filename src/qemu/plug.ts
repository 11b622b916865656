import { GuestError, InfrastructureError, UsageError } from '../errors.ts'
import { poll, type WaitOptions, waitFor } from '../wait.ts'
import { deviceOptionOf, FORWARD_ADDRESS, type PlacedDevice } from './args.ts'
import type { Property } from './devices.ts'
import { hintFor } from './hints.ts'
import { type Qmp, QmpClosedError, QmpError } from './qmp.ts'
import type { PciDevice } from './qmp-types.ts'
import { segmentNetdev } from './segment.ts'

/*
 * Hot plug goes through ACPI, which is what QEMU's q35 tells the guest by itself since 6.1. Native PCI
 * Express hot plug (ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off) boots as fast, but was slower
 * under TCG, by far for an unplug: 0.2 s to plug and 6.2 s to unplug against 0.05 s and 0.08 s. The
 * guest's pciehp waits 5 s for somebody to press the button again and 1 s for the power to be off
 * (drivers/pci/hotplug/pciehp_ctrl.c), and after a plug 0.1 s for the link.
 */

interface PlugOptions {
  /** The device's number on the VM. */
  index: number
  /** The free port that it goes to; see `MachineKind.port`. */
  port?: Record<string, Property>
  accel: 'kvm' | 'tcg'
  /** How long a backend may take that is to connect to QEMU. */
  backend?: WaitOptions
  /** Done once its other end is there, before the guest is told. */
  onConnected?: () => Promise<void>
}

/** What a device is called in QEMU, by its number on the VM. */
export function deviceId(index: number): string {
  return `nic${index}`
}

/**
 * Plugs a device into a running machine: what it is connected to, then the device itself. The guest
 * is told, and sees it some time later. Where it is refused, nothing of it stays in QEMU.
 *
 * @throws InfrastructureError with QEMU's words when it refuses, or when no backend connects to it
 * @throws UsageError for raw arguments, which are only for QEMU's start
 */
export async function plug(qmp: Qmp, placed: PlacedDevice, options: PlugOptions): Promise<void> {
  const { index, accel, port, backend, onConnected } = options
  try {
    await connectBackend(qmp, placed, index, backend)
    await onConnected?.()
    // The monitor for people takes the same text as QEMU's command line, so that a property written
    // 'on' means the same in both.
    const line = `device_add ${deviceOptionOf(placed, index, { accel, port })}`
    const refusal = await qmp.execute('human-monitor-command', { 'command-line': line })
    if (refusal.trim() !== '') throw refused(refusal.trim().replace(/^Error: /, ''), line)
  } catch (error) {
    await disconnect(qmp, index)
    throw error instanceof QmpError ? refused(error.desc, error.command ?? '') : error
  }
}

/**
 * Asks the guest to let go of a device, and waits until it has; then what it was connected to goes.
 *
 * @throws GuestError when the guest says that it keeps it
 */
export async function unplug(qmp: Qmp, index: number, wait: WaitOptions): Promise<void> {
  const id = deviceId(index)
  await using events = qmp.events()
  const isGone = await qmp.execute('device_del', { id }).then(
    () => false,
    (error) => {
      // By a call before this one, which gave up too early: the guest is at it, or has let go since.
      if (error instanceof QmpError && /in the process of unplug/.test(error.desc)) return false
      if (error instanceof QmpError && /not found/.test(error.desc)) return true
      throw error
    },
  )
  const gone = async () => {
    if (isGone) return
    for await (const { event, data } of events) {
      if ((data as { device?: string } | undefined)?.device !== id) continue
      if (event === 'DEVICE_DELETED') return
      if (event === 'DEVICE_UNPLUG_GUEST_ERROR') throw new GuestError(`the guest keeps ${id}`)
    }
    throw new QmpClosedError('the event DEVICE_DELETED')
  }
  await waitFor(gone(), wait)
  await disconnect(qmp, index)
}

/** Where the guest sees a device that is plugged in: `'0000:01:00.0'`. */
export async function pciAddress(qmp: Qmp, index: number): Promise<string> {
  const id = deviceId(index)
  const address = (await pciAddresses(qmp)).get(id)
  if (address === undefined) throw new InfrastructureError(`QEMU shows no PCI device ${id}`)
  return address
}

/** Where the guest sees each device that has an id. */
export async function pciAddresses(qmp: Qmp): Promise<Map<string, string>> {
  const all = (devices: readonly PciDevice[]): PciDevice[] =>
    devices.flatMap((device) => [device, ...all(device.pci_bridge?.devices ?? [])])
  const found = all((await qmp.execute('query-pci')).flatMap(({ devices }) => devices))
  const hex = (n: number) => n.toString(16).padStart(2, '0')
  const address = (d: PciDevice) => `0000:${hex(d.bus)}:${hex(d.slot)}.${d.function}`
  return new Map(found.map((device) => [device.qdev_id, address(device)]))
}

async function connectBackend(
  qmp: Qmp,
  { device, segment = '', tap, hostPorts = [] }: PlacedDevice,
  index: number,
  wait: WaitOptions = {},
): Promise<void> {
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
      if (server) await awaitPeer(qmp, chardev, path, wait)
      await qmp.execute('netdev_add', { type: 'vhost-user', id, chardev, queues })
      return
    }
    case 'vfio':
      return
    case 'virtio-crypto':
    case 'raw':
      throw new UsageError('raw arguments cannot be plugged into a running VM', {
        hint: 'give them to the VM at its start',
      })
  }
}

// netdev_add waits for the backend too, but in QEMU's main loop, and everything else with it.
async function awaitPeer(qmp: Qmp, chardev: string, path: string, wait: WaitOptions) {
  const connected = async () => {
    const all = await qmp.execute('query-chardev')
    const filename = all.find(({ label }) => label === chardev)?.filename
    return (filename !== undefined && !filename.startsWith('disconnected:')) || undefined
  }
  await poll(connected, {
    ...wait,
    onTimeout: (elapsedMs) =>
      new InfrastructureError(`no backend has connected to ${path}`, {
        elapsedMs,
        hint: 'start one that is the client of this socket, or leave server out',
      }),
  })
}

/** With its netdev, QEMU (7.2) removes the chardev of a vhost-user device as well. */
async function disconnect(qmp: Qmp, index: number): Promise<void> {
  const whereItIs = (error: unknown) => {
    if (!(error instanceof QmpError && /not found/.test(error.desc))) throw error
  }
  await qmp.execute('netdev_del', { id: `net${index}` }).catch(whereItIs)
  await qmp.execute('chardev-remove', { id: `vhost${index}` }).catch(whereItIs)
}

function refused(words: string, command: string): InfrastructureError {
  const hint = hintFor([words])
  return new InfrastructureError(`QEMU plugs no such device: ${words}`, {
    ...{ command, ...(hint !== undefined && { hint }) },
  })
}
