// pvp_virtio_bonding: four NICs of one guest, of which three are one bonded device of its testpmd; what the
// host sends comes in over them and goes out of the fourth.
import { dutTest, expect, vhostUser } from 'vitest-dut'
import { bindDriver, testpmd } from 'vitest-dut/dpdk'

const test = dutTest({ vms: 0 })
/** Round robin, active-backup, XOR, broadcast, LACP, TLB and ALB of the bonding driver. */
const MODES = [0, 1, 2, 3, 4, 5, 6]

test('four devices and bonding, modes 0 to 6', async ({ dut }) => {
  const paths = [0, 1, 2, 3].map((i) => `${dut.dir}/vhost-net${i}`)
  // First, for QEMU does not begin before somebody is at the sockets that it makes.
  const host = await testpmd(dut, {
    vdevs: paths.map((path, i) => `net_vhost${i},iface=${path},client=1,queues=1`),
    ...{ nice: 10, memory: 256, mbufs: 8192, args: ['--port-topology=chained'] },
  })
  const vm = await dut.start({
    memory: '512M',
    devices: paths.map((path, i) =>
      vhostUser({ path, server: true, mac: `52:54:00:00:00:0${i + 1}` }),
    ),
  })
  await bindDriver(vm, 'all', 'uio_pci_generic')
  for (const mode of MODES) {
    await using guest = await testpmd(vm, {
      args: ['--port-topology=chained'],
      mbufs: 16_384,
      memory: 128,
    })
    const made = await guest.cmd(`create bonded device ${mode} 0`)
    expect(made).toContain('Created new bonded device net_bonding_testpmd_0 on (port 4).')
    for (const port of [0, 1, 2]) await guest.cmd(`add bonding slave ${port} 4`)
    await guest.cmd('port start 4')
    expect(await guest.cmd('show bonding config 4')).toMatch(/Slaves \(3\): \[0 1 2\]/)
    if (mode === 4) continue // LACP waits for a partner, which the host's testpmd is not
    await guest.cmd('set portlist 3,4')
    await guest.start('mac')
    for (const port of [0, 1, 2, 3]) await host.waitLinkUp(port)
    await host.clearStats()
    await host.start('txonly')
    const received = async () => (await guest.portStats(4)).rxPackets
    await expect.poll(received, { timeout: 30_000 }).toBeGreaterThan(0)
    const sent = async () => (await guest.portStats(3)).txPackets
    await expect.poll(sent, { timeout: 30_000 }).toBeGreaterThan(0)
    await host.stop()
    await guest.stop()
  }
})
