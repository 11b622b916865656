// vm2vm_virtio_net_perf, test cases 1 to 4: the guests' kernels speak TCP over a testpmd on the host that
// takes segments of 64 kB, with split and packed rings; and what their NICs offer for that.
import { dutTest, expect, type Vm, vhostUser } from 'vitest-dut'
import { testpmd } from 'vitest-dut/dpdk'

const test = dutTest({ vms: 0 })

const COMMON = {
  ...{ 'disable-modern': false, mrg_rxbuf: true, csum: true, guest_csum: true },
  ...{ host_tso4: true, guest_tso4: true, guest_ecn: true },
}
const RINGS = { split: { packed: false }, packed: { packed: true } }
/** Bits of virtio's features: these are in both, and RING_PACKED as it is asked for. */
const FEATURES = {
  CSUM: 0,
  GUEST_CSUM: 1,
  GUEST_TSO4: 7,
  GUEST_ECN: 9,
  HOST_TSO4: 11,
  MRG_RXBUF: 15,
}
const RING_PACKED = 34

test.for(Object.entries(RINGS))(
  '%s rings: TCP with TSO, and capabilities',
  async ([, ring], { dut, annotate }) => {
    const paths = [0, 1].map((i) => `${dut.dir}/vhost-net${i}`)
    const host = await testpmd(dut, {
      vdevs: paths.map((path, i) => `net_vhost${i},iface=${path},queues=1,tso=1,linear-buffer=0`),
      ...{ nice: 10, memory: 256, mbufs: 8192 },
    })
    await host.start()
    const vms = await dut.startAll(
      paths.map((path, i) => ({
        memory: '256M' as const,
        devices: [
          vhostUser({ path, mac: `52:54:00:00:00:0${i + 1}`, properties: { ...COMMON, ...ring } }),
        ],
      })),
    )
    for (const [i, vm] of vms.entries()) {
      const features = (await vm.exec('ethtool -k eth0', { check: true })).stdout
      for (const feature of ['tx-tcp-segmentation', 'tx-tcp6-segmentation']) {
        expect(features).toContain(`${feature}: on`)
      }
      const { stdout: bits } = await vm.exec('cat /sys/class/net/eth0/device/features')
      for (const [name, bit] of Object.entries(FEATURES)) expect(bits[bit], name).toBe('1')
      expect(bits[RING_PACKED]).toBe(ring.packed ? '1' : '0')
      const [own, other] = [i + 1, 2 - i]
      await vm.exec(
        `ip addr add 1.1.1.${own}/24 dev eth0 && ip link set eth0 up &&
       ip neigh add 1.1.1.${other} lladdr 52:54:00:00:00:0${other} dev eth0`,
        { check: true },
      )
    }
    const [server, client] = vms as [Vm, Vm]
    const { stdout } = await client.exec('ping -c 4 -i 0.2 1.1.1.1')
    expect(stdout).toContain(' 0% packet loss')

    await using iperf = await server.spawn('iperf -s')
    await iperf.expect('Server listening')
    const report = (await client.exec('iperf -c 1.1.1.1 -t 3', { timeout: '60s' })).stdout
    const rate = /([\d.]+ [KMG]bits\/sec)\s*$/.exec(report)?.[1]
    expect(Number.parseFloat(rate ?? '0')).toBeGreaterThan(0)

    // Frames larger than any cable takes have crossed, both into the host and out of it.
    const large = async (port: number, way: string) =>
      Number(
        new RegExp(`${way}_q0_size_1519_max_packets: (\\d+)`).exec(
          await host.cmd(`show port xstats ${port}`),
        )?.[1],
      )
    expect(await large(0, 'tx')).toBeGreaterThan(0)
    expect(await large(1, 'rx')).toBeGreaterThan(0)
    await annotate(`${rate}`, 'TCP')
  },
)
