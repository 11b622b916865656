import {
  detectTopology,
  dutTest,
  expect,
  link,
  type Port,
  raw,
  tap,
  UsageError,
  userNet,
  type Vm,
  vhostUser,
} from 'vitest-dut'
import { vhostSwitch } from 'vitest-dut/dpdk'
import { statesOf, wiring } from '../support/wiring.ts'

const mayChangeNetworks = process.getuid?.() === 0
const test = dutTest({ vms: 0 })
const ROUNDS = 10

/** A NIC at one end of a wire that only raw arguments know. */
function rawWire(n: number, [local, remote]: readonly [string, string]) {
  const ends = `local.type=unix,local.path=${local},remote.type=unix,remote.path=${remote}`
  return raw(
    ...['-netdev', `dgram,id=wire${n},${ends}`],
    ...['-device', `virtio-net-pci,netdev=wire${n},mac=52:54:00:00:77:0${n}`],
  )
}

test('three VMs, two links, a switch, a raw wire, NICs that lead nowhere', async ({ dut }) => {
  const sw = await vhostSwitch(dut, { ports: 2 })
  const wire = [`${dut.dir}/wire-a`, `${dut.dir}/wire-b`] as const
  const nowhere = raw('-device', 'virtio-net-pci,mac=52:54:00:00:77:03')
  const [there, back] = [rawWire(1, wire), rawWire(2, [wire[1], wire[0]])]
  const devices = {
    a: [link('lan'), vhostUser(sw.port(0)), there],
    b: [link('lan'), link('wan'), userNet()],
    c: [link('wan'), vhostUser(sw.port(1)), link('empty'), nowhere, back],
  }
  const specs = Object.entries(devices).map(([name, its]) => ({ name, devices: its }))
  const vms = await dut.startAll(specs.map((spec) => ({ ...spec, memory: '256M' })))
  const [a, b] = vms as [Vm, Vm, Vm]
  const [lan, slow] = (await a.ports()).filter(({ id }) => id).map(({ netdev }) => netdev)
  await a.exec(`ip addr add 10.0.0.1/24 dev ${lan}; ip link set ${lan} up`, { check: true })
  await a.exec(`ip addr add 10.2.0.1/24 dev ${slow}`, { check: true })
  const expected = {
    ...{ 'a/nic0': 'b/nic0', 'a/nic1': 'c/nic1', 'a/77:01': 'c/77:02' },
    ...{ 'b/nic0': 'a/nic0', 'b/nic1': 'c/nic0', 'b/nic2': '' },
    ...{ 'c/nic0': 'b/nic1', 'c/nic1': 'a/nic1', 'c/nic2': '' },
    ...{ 'c/77:02': 'a/77:01', 'c/77:03': '' },
  }
  // The kernel tells later than `up`, by up to a second, in what state the port is.
  const operstate = async () => (await a.exec(`cat /sys/class/net/${lan}/operstate`)).stdout
  await expect.poll(operstate).toBe('up\n')
  const before = await statesOf(vms)
  const spent: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const startedAt = performance.now()
    const found = await detectTopology(vms)
    spent.push(performance.now() - startedAt)
    expect(wiring(vms, found)).toEqual(expected)
    if (round > 0) continue
    // What was configured stands; where nothing was, there is what was detected.
    const [first, second] = found as [Port[], Port[], Port[]]
    const [wired, ...known] = first
    expect(known.map(({ peer }) => peer)).toEqual([
      { kind: 'link', name: 'lan' },
      { kind: 'vhost-user', path: sw.path(0) },
    ])
    expect(known[0]?.connected).toEqual([
      { dut: 'dut0', vm: 'b', direction: 'both', ...pick(second[0]) },
    ])
    expect(wired?.peer).toEqual({ kind: 'ports', ports: wired?.connected })
    const alone = found[2]?.find(({ mac }) => mac === '52:54:00:00:77:03')
    expect(alone).not.toHaveProperty('peer')
  }
  expect(await statesOf(vms)).toEqual(before)
  // One NIC is heard by nobody, so each took its whole second; the rest is what the guests need.
  expect(Math.min(...spent)).toBeGreaterThan(900)
  expect(spent.toSorted((x, y) => x - y)[ROUNDS / 2]).toBeLessThan(5000)
  expect(wiring([b], [await b.ports({ detect: true })])).toEqual(
    Object.fromEntries(Object.entries(expected).filter(([port]) => port.startsWith('b/'))),
  )
})

function pick(port: Port | undefined) {
  const { pci, netdev, id, mac } = port ?? {}
  return { pci, netdev, id, mac }
}

test('one-way forwarding has a direction; what comes back has itself', async ({ dut }) => {
  const ring = await vhostSwitch(dut, { ports: 3, topology: 'chained' })
  const devices = (...ports: number[]) => ports.map((port) => vhostUser(ring.port(port)))
  const vms = await dut.startAll([
    { name: 'a', memory: '192M', devices: devices(0, 1) },
    { name: 'b', memory: '192M', devices: devices(2) },
  ])
  expect(wiring(vms, await detectTopology(vms))).toEqual({
    'a/nic0': '>a/nic1,<b/nic0',
    'a/nic1': '<a/nic0,>b/nic0',
    'b/nic0': '>a/nic0,<a/nic1',
  })
  await ring.testpmd.stop()
  await ring.testpmd.cmd('set portlist 2')
  await ring.testpmd.start('io')
  expect(wiring(vms, await detectTopology(vms))).toEqual({
    ...{ 'a/nic0': '', 'a/nic1': '', 'b/nic0': 'b/nic0' },
  })
})

test('options are checked', async ({ dut }) => {
  await expect(detectTopology([], { timout: 1000 } as object)).rejects.toThrow(/timeout/)
  const vm = await dut.start({ memory: '192M' })
  await expect(vm.ports({ detekt: true } as object)).rejects.toThrow(/detect/)
  await expect(vm.ports({ detect: true, timeout: 5 })).rejects.toThrow(UsageError)
  expect(await detectTopology([])).toEqual([])
  expect(await vm.ports({ detect: true })).toEqual([])
})

test.runIf(mayChangeNetworks)(
  'through a bridge of the host, named for any tap',
  async ({ dut }) => {
    const [bridge, own] = ['b', 't'].map((what) => `dut${what}${crypto.randomUUID().slice(0, 8)}`)
    await dut.exec(`ip link add ${bridge} up type bridge && ip tuntap add ${own} mode tap`, {
      check: true,
    })
    try {
      await dut.exec(`ip link set ${own} master ${bridge} up`, { check: true })
      const vms = await dut.startAll([
        { name: 'a', memory: '192M', devices: [tap({ bridge: bridge as string })] },
        { name: 'b', memory: '192M', devices: [tap({ name: own as string })] },
      ])
      const found = await detectTopology(vms)
      expect(wiring(vms, found)).toEqual({ 'a/nic0': 'b/nic0', 'b/nic0': 'a/nic0' })
      expect(found.map(([port]) => port?.peer)).toMatchObject([{ bridge }, { name: own, bridge }])
      await Promise.all(vms.map((vm) => vm.stop()))
    } finally {
      await dut.exec(`ip link delete ${own}; ip link delete ${bridge}`)
    }
  },
)
