// vhost_qemu_mtu: the MTU that is given to the host's NIC is what guest and vhost port have.
import { dutTest, expect, vhostUser } from 'vitest-dut'
import { vhostSwitch } from 'vitest-dut/dpdk'

const test = dutTest({ vms: 0 })

test.for([9000, 68, 65_535])('an MTU of %i goes from host to guest', async (mtu, { dut }) => {
  const sw = await vhostSwitch(dut, { ports: 1, topology: 'chained', mode: 'mac' })
  const properties = { mrg_rxbuf: true, host_mtu: mtu }
  const vm = await dut.start({
    memory: '256M',
    devices: [vhostUser({ ...sw.port(0), properties })],
  })
  await vm.exec('ip link set eth0 up', { check: true })
  expect((await vm.exec('ip link show eth0', { check: true })).stdout).toContain(` mtu ${mtu} `)
  await sw.testpmd.waitLinkUp(0)
  expect((await sw.testpmd.portInfo(0)).mtu).toBe(mtu)
})
