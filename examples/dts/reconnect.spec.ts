// pvp_vhost_user_reconnect, test case 7: the vhost process dies and is started again, five times, and each
// time the guests' packets pass again. QEMU makes the sockets, testpmd connects to them. (Test case 16 is
// the same with packed rings: with QEMU 7.2 and DPDK 22.11 no packet passes any more after that.)
import { dutTest, expect, type Vm, vhostUser } from 'vitest-dut'
import { testpmd } from 'vitest-dut/dpdk'

const test = dutTest({ vms: 0 })

test('VM to VM after the vhost process died', async ({ dut }) => {
  const paths = [0, 1].map((i) => `${dut.dir}/vhost-net${i}`)
  const startHost = async () => {
    const host = await testpmd(dut, {
      vdevs: paths.map((path, i) => `net_vhost${i},iface=${path},client=1,queues=1`),
      nice: 10,
    })
    await host.start()
    return host
  }
  // First, for QEMU does not begin before somebody is at the sockets that it makes.
  let host = await startHost()
  const vms = await dut.startAll(
    paths.map((path) => ({
      memory: '256M' as const,
      devices: [vhostUser({ path, server: true, properties: { mrg_rxbuf: true } })],
    })),
  )
  for (const [i, vm] of vms.entries()) {
    await vm.exec(`ip addr add 1.1.1.${i + 1}/24 dev eth0 && ip link set eth0 up`, { check: true })
  }
  const [, b] = vms as [Vm, Vm]
  const pings = async () => (await b.exec('ping -c 3 -i 0.2 -W 5 1.1.1.1')).stdout
  for (const port of [0, 1]) await host.waitLinkUp(port)
  expect(await pings()).toContain(' 0% packet loss')
  for (let i = 0; i < 5; i++) {
    await host.program.close()
    host = await startHost()
    for (const port of [0, 1]) await host.waitLinkUp(port)
    // The guests' kernels may need a moment until they have the link again.
    await expect.poll(pings, { timeout: 30_000 }).toContain(' 0% packet loss')
  }
})
