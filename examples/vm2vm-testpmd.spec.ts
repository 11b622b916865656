// testpmd in one guest sends through a vhost-user switch on the host to testpmd in another guest, and
// no packet may get lost unseen: the counters are compared at all four points.
import { dutTest, expect, vhostUser } from 'vitest-dut'
import { bindDriver, testpmd, vhostSwitch } from 'vitest-dut/dpdk'

const test = dutTest({
  backend: (dut) => vhostSwitch(dut, { ports: 2 }),
  vms: 2,
  vm: ({ backend, index }) => ({ memory: '256M', devices: [vhostUser(backend.port(index))] }),
})

test.beforeAll(async ({ vms }) => {
  await Promise.all(vms.map((vm) => bindDriver(vm, 0, 'uio_pci_generic')))
})

test('every packet is accounted for', async ({ vms, backend, annotate }) => {
  const [a, b] = vms
  const [sender, receiver] = await Promise.all([testpmd(a), testpmd(b)])
  const sw = backend.testpmd
  await sw.clearStats()

  await receiver.start('rxonly')
  await sender.start('txonly')
  const received = async () => (await receiver.portStats(0)).rxPackets
  await expect.poll(received, { timeout: 20_000 }).toBeGreaterThan(20_000)
  const { total } = await sender.stop()

  // What is still under way arrives.
  const taken = async () => (await sw.portStats(0)).rxPackets
  await expect.poll(taken).toBe(total.txPackets)
  const out = (await sw.forwardStats()).ports[1]!
  expect(out.txPackets + out.txDropped).toBe(total.txPackets)
  await expect.poll(received).toBe(out.txPackets)
  for (const { rxErrors, rxNombuf } of await sw.allPortStats()) expect(rxErrors + rxNombuf).toBe(0)

  const n = (count: number) => count.toLocaleString('en-US')
  await annotate(
    `sent ${n(total.txPackets)}, switch dropped ${n(out.txDropped)}, received ${n(await received())}`,
    'traffic',
  )
})
