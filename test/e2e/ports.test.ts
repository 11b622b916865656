import { dutTest, expect, link, raw, tap, userNet, vhostUser } from 'vitest-dut'
import { bindDriver, vhostSwitch } from 'vitest-dut/dpdk'

const mayChangeNetworks = process.getuid?.() === 0
const test = dutTest({ vms: 0 })

test('a VM lists its ports, and what each is wired to', async ({ dut }) => {
  const sw = await vhostSwitch(dut, { ports: 2 })
  const mac = '52:54:00:aa:bb:cc'
  const vm = await dut.start({
    memory: '256M',
    devices: [link('lan', { mac }), userNet({ forward: [22] }), vhostUser(sw.port(0)), link('wan')],
  })
  const ports = await vm.ports()
  const { stdout } = await vm.exec('cat /sys/class/net/eth*/address', { check: true })
  expect(ports.map((port) => port.mac)).toEqual(stdout.trim().split('\n'))
  expect(ports).toMatchObject([
    { id: 'nic0', netdev: 'eth0', mac, peer: { kind: 'link', name: 'lan' } },
    { id: 'nic1', netdev: 'eth1', peer: { kind: 'user-net' } },
    { id: 'nic2', netdev: 'eth2', peer: { kind: 'vhost-user', path: sw.port(0).path } },
    { id: 'nic3', netdev: 'eth3', peer: { kind: 'link', name: 'wan' } },
  ])
  for (const { pci, driver } of ports) {
    expect(pci).toMatch(/^0000:0\d:00\.0$/)
    expect(driver).toBe('virtio-pci')
  }

  await vm.unplug('nic0')
  const nic = await vm.plug(link('dmz'))
  await bindDriver(vm, nic.pci, 'uio_pci_generic')
  const after = await vm.ports()
  // One that DPDK has is known by what was configured, for it has no network interface.
  expect(after[0]).toEqual({
    ...{ id: 'nic0', pci: nic.pci, driver: 'uio_pci_generic', mac: nic.mac },
    peer: { kind: 'link', name: 'dmz' },
  })
  expect(after.slice(1)).toEqual(ports.slice(1))
})

test('a NIC that raw arguments made has no known end', async ({ dut }) => {
  const vm = await dut.start({
    devices: [raw('-device', 'virtio-net-pci,mac=52:54:00:00:00:77'), link('lan')],
  })
  const ports = await vm.ports()
  expect(ports).toHaveLength(2)
  expect(ports.find((port) => port.mac === '52:54:00:00:00:77')).not.toHaveProperty('peer')
  expect(ports.find(({ id }) => id === 'nic1')).toMatchObject({ peer: { kind: 'link' } })
})

test.runIf(mayChangeNetworks)('a tap is named with its bridge', async ({ dut }) => {
  const bridge = `dutr${process.pid}`
  const vm = await dut.start({ devices: [tap({ bridge })] })
  const [port] = await vm.ports()
  expect(port?.peer).toEqual({
    kind: 'tap',
    name: expect.stringMatching(/^dut[0-9a-f]{8}$/),
    bridge,
  })
  const { stdout } = await dut.exec(`ls /sys/class/net/${bridge}/brif`, { check: true })
  expect(port?.peer).toMatchObject({ name: stdout.trim() })
})
