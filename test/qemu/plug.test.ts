import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { InfrastructureError, UsageError } from '../../src/errors.ts'
import type { PlacedDevice } from '../../src/qemu/args.ts'
import { type Device, link, raw, tap, userNet, vhostUser } from '../../src/qemu/devices.ts'
import { pciAddress, plug, unplug } from '../../src/qemu/plug.ts'
import { type RunningQemu, startQemu } from '../support/qmp-peer.ts'

/*
 * A machine without a guest: all but the guest's part. Nobody ejects a device there, so whatever is
 * plugged stays; the end-to-end tests have it go.
 */

let dir: string
let qemu: RunningQemu

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'plug-'))
  const ports = [0, 1, 2, 3].flatMap((i) => [
    ...['-device', `pcie-root-port,id=slot${i},chassis=${i + 1},slot=${i + 1}`],
  ])
  qemu = await startQemu(['-machine', 'q35', '-m', '64M', ...ports])
})

afterAll(async () => {
  await qemu[Symbol.asyncDispose]()
  await rm(dir, { recursive: true })
})

const place = (device: Device, more: Partial<PlacedDevice> = {}): PlacedDevice => {
  return { device, mac: '52:54:00:00:00:07', ...more }
}

/** What QEMU has of NICs and of what they are connected to. */
async function left() {
  const network = await qemu.qmp.execute('human-monitor-command', {
    'command-line': 'info network',
  })
  const chardevs = await qemu.qmp.execute('query-chardev')
  return network.trim() + chardevs.map(({ label }) => label).join(' ')
}

async function plugged(placed: PlacedDevice, index: number) {
  await plug(qemu.qmp, placed, { index, accel: 'tcg', port: { bus: `slot${index}` } })
  return left()
}

async function refusal(placed: PlacedDevice, timeoutMs?: number) {
  const before = await left()
  const backend = { timeoutMs }
  const error = await plug(qemu.qmp, placed, {
    index: 3,
    accel: 'tcg',
    port: { bus: 'slot3' },
    backend,
  }).catch((e) => e)
  expect(await left()).toBe(before)
  return error
}

test('what is plugged has its address, its properties and its other end', async () => {
  const segment = join(dir, 'port')
  const device = link('lan', { properties: { mrg_rxbuf: false } })
  expect(await plugged(place(device, { segment }), 0)).toContain(`${segment}.vm:${segment}`)
  expect(await left()).toContain('macaddr=52:54:00:00:00:07')
  const path = '/machine/peripheral/nic0'
  expect(await qemu.qmp.execute('qom-get', { path, property: 'mrg_rxbuf' })).toBe(false)
  // The firmware numbers the buses.
  const address = () => pciAddress(qemu.qmp, 0).catch(({ message }) => message)
  await expect.poll(address).toBe('0000:01:00.0')
  await expect(pciAddress(qemu.qmp, 2)).rejects.toThrow('QEMU shows no PCI device nic2')
})

test('ports that are forwarded are listened on', async () => {
  const device = userNet({ forward: [7, { port: 9, protocol: 'udp' }] })
  await plugged(place(device, { hostPorts: [26_999, 26_998] }), 1)
  const usernet = await qemu.qmp.execute('human-monitor-command', {
    'command-line': 'info usernet',
  })
  expect(usernet).toMatch(/TCP\[HOST_FORWARD\] +\d+ +127\.0\.0\.1 +26999 +\S+ +7 /)
  expect(usernet).toMatch(/UDP\[HOST_FORWARD\] +\d+ +127\.0\.0\.1 +26998 +\S+ +9 /)
})

test('a port that is taken: QEMU’s words, and nothing stays', async () => {
  const error = await refusal(place(userNet({ forward: [7] }), { hostPorts: [26_999] }))
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toContain('Could not set up host forwarding rule')
  expect(error.hint).toContain('took the port meanwhile')
})

test('a backend that is not there', async () => {
  const error = await refusal(place(vhostUser({ path: join(dir, 'nobody') })))
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toMatch(/Failed to connect to '.*nobody': No such file or directory/)
  expect(error.hint).toContain('start the backend first')
})

test('a backend that does not come is waited for without holding up QEMU', async () => {
  const path = join(dir, 'server')
  const error = await refusal(place(vhostUser({ path, server: true })), 100)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toContain(`no backend has connected to ${path}`)
  expect(error.elapsedMs).toBeGreaterThanOrEqual(99)
})

test('a property that the device does not have', async () => {
  const device = link('lan', { properties: { nonsense: 1 } })
  const error = await refusal(place(device, { segment: join(dir, 'p3') }))
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toContain(`Property 'virtio-net-pci.nonsense' not found`)
})

test('a tap that cannot be made', async () => {
  const error = await refusal(place(tap({ name: 'lo' }), { tap: 'lo' }))
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toContain('could not configure /dev/net/tun')
})

test('what fails between the two ends leaves nothing', async () => {
  const before = await left()
  const onConnected = async () => {
    expect(await left()).toContain('net3')
    throw new Error('no bridge')
  }
  const options = { index: 3, accel: 'tcg' as const, onConnected }
  await expect(plug(qemu.qmp, place(userNet()), options)).rejects.toThrow('no bridge')
  expect(await left()).toBe(before)
})

test('raw arguments are refused', async () => {
  expect(await refusal(place(raw('-device', 'edu')))).toBeInstanceOf(UsageError)
})

test('a device that nobody lets go of stays, and can be asked for again', async () => {
  for (let i = 0; i < 2; i++) {
    const onTimeout = () => new Error('kept')
    await expect(unplug(qemu.qmp, 0, { timeoutMs: 50, onTimeout })).rejects.toThrow('kept')
    expect(await left()).toContain('nic0')
  }
})
