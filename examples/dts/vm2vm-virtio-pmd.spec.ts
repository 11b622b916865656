// vm2vm_virtio_pmd, test cases 2, 4 and 8: testpmd in one guest sends, a testpmd on the host forwards, and
// testpmd in another guest receives, with virtio 0.95, 1.0 and packed rings.
import { dutTest, expect, vhostUser } from 'vitest-dut'
import { bindDriver, testpmd, vhostSwitch } from 'vitest-dut/dpdk'

const test = dutTest({ vms: 0 })

const COMMON = { mrg_rxbuf: false, csum: true, guest_csum: true, host_tso4: true, guest_tso4: true }
/** Bits of virtio's features, of which guest and device agree on those that a ring has. */
const [MRG_RXBUF, VERSION_1, RING_PACKED] = [15, 32, 34]
const RINGS: [string, Record<string, boolean>, number[]][] = [
  ['virtio 0.95', { 'disable-modern': true, 'disable-legacy': false }, []],
  ['virtio 1.0', { 'disable-modern': false, 'disable-legacy': true }, [VERSION_1]],
  ['packed rings', { 'disable-modern': false, packed: true }, [VERSION_1, RING_PACKED]],
]

test.for(RINGS)('%s, normal path', async ([, ring, features], { dut, annotate }) => {
  const sw = await vhostSwitch(dut, { ports: 2, mode: 'mac' })
  const vms = await dut.startAll(
    [0, 1].map((i) => ({
      memory: '256M' as const,
      devices: [vhostUser({ ...sw.port(i), properties: { ...COMMON, ...ring } })],
    })),
  )
  const pmds = await Promise.all(
    vms.map(async (vm) => {
      const { stdout: bits } = await vm.exec('cat /sys/class/net/eth0/device/features')
      const agreed = [MRG_RXBUF, VERSION_1, RING_PACKED].filter((bit) => bits[bit] === '1')
      expect(agreed).toEqual(features)
      await bindDriver(vm, 0, 'uio_pci_generic')
      return testpmd(vm, { args: ['--tx-offloads=0x00', '--enable-hw-vlan-strip'] })
    }),
  )
  const [receiver, sender] = pmds as [(typeof pmds)[0], (typeof pmds)[0]]
  await sw.testpmd.waitLinkUp(0)
  await sw.testpmd.waitLinkUp(1)
  // What the guests' kernels sent before is in some counters and not in others.
  await sw.testpmd.clearStats()
  await receiver.clearStats()
  await receiver.start('rxonly')
  await sender.setTxPackets(64)
  await sender.start('txonly', { txFirst: 32 })
  const received = async () => (await receiver.portStats(0)).rxPackets
  await expect.poll(received, { timeout: 30_000 }).toBeGreaterThan(5000)

  const { txPackets: sent } = (await sender.stop()).total
  const [to0, from1] = [0, 1].map((port) => () => sw.testpmd.portStats(port))
  await expect.poll(async () => (await from1?.())?.rxPackets).toBe(sent)
  const out = (await sw.testpmd.forwardStats()).ports[0]
  expect((out?.txPackets ?? 0) + (out?.txDropped ?? 0)).toBe(sent)
  await expect.poll(received).toBe((await to0?.())?.txPackets)
  // What the vhost port did not take is accounted for above; DPDK 24.11 calls it errors, too.
  for (const { rxErrors, rxNombuf } of await sw.testpmd.allPortStats()) {
    expect(rxErrors + rxNombuf).toBe(0)
  }
  await annotate(`sent ${sent}, received ${await received()}`, 'traffic')
})
