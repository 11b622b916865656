// TCP between two guests, measured by iperf3.
import { dutTest, expect, link } from 'vitest-dut'

const test = dutTest({
  vms: 2,
  vm: { memory: '256M', devices: [link('lan')] },
})

test.beforeAll(async ({ vms }) => {
  for (const [i, vm] of vms.entries()) {
    await vm.exec(`ip addr add 10.0.0.${i + 1}/24 dev eth0 && ip link set eth0 up`, { check: true })
  }
})

test('TCP from one guest to the other', async ({ vms, annotate }) => {
  const [client, server] = vms
  await using iperf = await server.spawn('iperf3 --server --one-off')
  await iperf.expect('Server listening on 5201')

  const { stdout } = await client.exec('iperf3 --client 10.0.0.2 --time 2 --json', { check: true })

  const { bytes, bits_per_second } = JSON.parse(stdout).end.sum_received
  expect(bits_per_second).toBeGreaterThan(0)
  const megabytes = Math.round(bytes / 1e6)
  await annotate(`${megabytes} MB, ${(bits_per_second / 1e6).toFixed(0)} Mbit/s`, 'TCP')
})
