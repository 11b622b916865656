import { describe, expect, test } from 'vitest'
import { type Device, link, raw, tap, userNet, vfio, vhostUser } from '../../../src/qemu/devices.ts'
import { placeDevices, tapsOf } from '../../../src/vm/instance/backends.ts'
import type { VmSite } from '../../../src/vm/instance/host-services.ts'
import { forwardsOf } from '../../../src/vm/spec/resources.ts'

let segments = 0
/** Only what placing needs of a site. */
const site = (macPrefix: number) =>
  ({
    macPrefix,
    segment: async (name: string) => `/dir/${name}/${segments++}`,
  }) as unknown as VmSite
const macs = async (macPrefix: number, index: number, devices: Device[]) =>
  (await placeDevices(devices, { site: site(macPrefix), index, ports: [] })).map(({ mac }) => mac)

describe('an Ethernet address', () => {
  test('is made of suite, VM and device', async () => {
    const devices = [link('a'), raw('-s'), vhostUser({ path: '/v' }), vfio('03:00.0'), tap()]
    expect(await macs(0x0a, 0, devices)).toEqual([
      ...['52:54:00:28:00:00', '', '52:54:00:28:00:02', '', '52:54:00:28:00:04'],
    ])
    expect(await macs(0x3fff, 0x311, devices)).toEqual([
      ...['52:54:ff:ff:11:00', '', '52:54:ff:ff:11:02', '', '52:54:ff:ff:11:04'],
    ])
  })

  test('is the one that was given where one was', async () => {
    const mac = '02:00:00:00:00:01'
    expect(await macs(1, 2, [link('a', { mac }), link('a')])).toEqual([mac, '52:54:00:04:02:01'])
  })

  test('of two suites of 1000 VMs with four devices each are all different', async () => {
    const devices = Array.from({ length: 4 }, () => link('lan'))
    const vms = Array.from({ length: 1000 }, (_, index) =>
      [7, 8].map((n) => macs(n, index, devices)),
    )
    expect(new Set((await Promise.all(vms.flat())).flat()).size).toBe(8000)
  })
})

test('each NIC on a link has a socket of its own on that segment', async () => {
  const devices = [link('a'), link('b'), link('a')]
  const placed = await placeDevices(devices, { site: site(0), index: 0, ports: [] })
  const sockets = placed.map(({ segment }) => segment ?? '')
  expect(sockets.map((path) => path.split('/')[2])).toEqual(['a', 'b', 'a'])
  expect(new Set(sockets).size).toBe(3)
})

describe('a tap', () => {
  const place = (devices: Device[]) => placeDevices(devices, { site: site(0), index: 0, ports: [] })

  test('has a name of its own on the whole host, which an interface can have', async () => {
    const devices = Array.from({ length: 4 }, () => tap({ bridge: 'br0' }))
    const all = (await Promise.all(Array.from({ length: 64 }, () => place(devices)))).flat()
    expect(new Set(all.map(({ tap }) => tap)).size).toBe(256)
    for (const { tap } of all) expect(tap).toMatch(/^dut[0-9a-f]{8}$/)
  })

  test('that QEMU makes is attached afterwards, one that was named is not', async () => {
    const placed = await place([tap({ name: 'mine' }), tap({ bridge: 'br0' }), link('lan'), tap()])
    const [mine, first, , second] = placed
    expect(mine?.tap).toBe('mine')
    expect(tapsOf(placed)).toEqual([{ tap: first?.tap, bridge: 'br0' }, { tap: second?.tap }])
  })
})

test('host ports are handed out in the order in which they were asked for', async () => {
  const devices = [
    userNet({ forward: [22, { port: 53, protocol: 'udp' }] }),
    link('lan'),
    userNet(),
    userNet({ forward: [80] }),
  ]
  expect(forwardsOf(devices)).toEqual([
    { port: 22, protocol: 'tcp' },
    { port: 53, protocol: 'udp' },
    { port: 80, protocol: 'tcp' },
  ])
  const ports = [4001, 4002, 4003]
  const placed = await placeDevices(devices, { site: site(0), index: 0, ports })
  expect(placed.map(({ hostPorts }) => hostPorts)).toEqual([[4001, 4002], undefined, [], [4003]])
  expect(ports).toHaveLength(3)
})
