import { dutTest, expect, InfrastructureError, UsageError, type Vm, vhostUser } from 'vitest-dut'
import { bindDriver, testpmd, vhostSwitch } from 'vitest-dut/dpdk'
import { isRunning } from './remains.ts'

// Ports 0 and 1 are the guests'; 2 is where one of them can move to.
const test = dutTest({
  backend: (dut) => vhostSwitch(dut, { ports: 3, topology: 'chained' }),
  vms: 2,
  vm: ({ backend, index }) => ({
    memory: '256M',
    boot: 'cold',
    devices: [vhostUser(backend.port(index))],
  }),
})

const ROUNDS = 5
// With QEMU 7.2 under TCG and DPDK 22.11 on the host, a move under a full stream puts the guest's ring
// out of step with its backend now and then, for a reason that is not known: no packet passes any more.
const UNRELIABLE = 'not reliable where the CPU is emulated'

/** Has the switch connect two of its ports. */
async function connect({ testpmd }: Awaited<ReturnType<typeof vhostSwitch>>, ports: string) {
  await testpmd.stop()
  await testpmd.cmd(`set portlist ${ports}`)
  await testpmd.start('io')
}

test('the kernel of a guest goes on with its NIC, at the same port and at another one', async ({
  vms,
  backend,
}) => {
  const [a, b] = vms as [Vm, Vm]
  await connect(backend, '0,1')
  for (const [i, vm] of vms.entries()) {
    await vm.exec(`ip addr add 10.0.0.${i + 1}/24 dev eth0; ip link set eth0 up`, { check: true })
  }
  const ping = await b.spawn('ping -i 0.02 10.0.0.1')
  await ping.expect('icmp_seq=5 ')
  for (let round = 0; round < ROUNDS; round++) {
    const before = a.pid
    await a.migrate()
    expect(isRunning(before)).toBe(false)
    await ping.expect(/icmp_seq=.*(\n.*icmp_seq=.*){10}/)
  }
  await ping.interrupt()
  await ping.expect('packet loss')
  const [, sent = 0, received = 0] =
    /(\d+) packets transmitted, (\d+) received/.exec(ping.console.text)?.map(Number) ?? []
  expect(sent - received).toBeLessThanOrEqual(ROUNDS * 30)
  expect(ping.console.text).not.toContain('DUP!')

  const mac = (await a.exec('cat /sys/class/net/eth0/address')).stdout
  await a.migrate({ devices: { nic0: vhostUser(backend.port(2)) }, transport: 'tcp' })
  expect(await a.ports()).toMatchObject([{ peer: { path: backend.path(2) }, mac: mac.trim() }])
  expect((await a.exec('ping -c 1 -W 1 10.0.0.2')).exitCode).not.toBe(0) // it is at port 2 now
  await connect(backend, '2,1')
  expect((await a.exec('ping -c 3 10.0.0.2')).stdout).toContain(' 0% packet loss')
  await a.migrate({ devices: { nic0: vhostUser(backend.port(0)) } })
  await connect(backend, '0,1')
  expect((await a.exec('ping -c 3 10.0.0.2')).stdout).toContain(' 0% packet loss')
})

test('the sender and the receiver of a stream move in turn, five times each', async ({
  vms,
  dut,
  backend,
  skip,
}) => {
  skip((await dut.facts()).accel !== 'kvm', UNRELIABLE)
  const [a, b] = vms as [Vm, Vm]
  await connect(backend, '0,1')
  for (const [i, vm] of vms.entries()) {
    await vm.exec(`ip addr replace 10.0.0.${i + 1}/24 dev eth0; ip link set eth0 up`, {
      check: true,
    })
  }
  const server = await b.spawn('iperf3 -s', { prompt: 'Server listening' })
  const client = await a.spawn('iperf3 -c 10.0.0.2 -t 600 -i 1')
  await client.expect('Mbits/sec', '30s')
  const bytes = async () =>
    Number((await b.exec('cat /sys/class/net/eth0/statistics/rx_bytes')).stdout)
  for (let round = 0; round < ROUNDS; round++) {
    for (const vm of [a, b]) {
      await vm.migrate()
      const before = await bytes()
      await expect.poll(bytes, { timeout: 30_000 }).toBeGreaterThan(before + 1_000_000)
    }
  }
  await client.close()
  await server.close()
  // What the driver says of a ring that is out of step with its backend.
  for (const vm of [a, b]) expect(vm.kernelLog).not.toMatch(/not a head|out of range/)
})

test.describe('testpmd in guests, under traffic', () => {
  test.beforeAll(async ({ vms, backend }) => {
    await connect(backend, '0,1')
    await Promise.all(vms.map((vm) => bindDriver(vm, 0, 'uio_pci_generic')))
  })

  test.for([
    ['the receiver', 0],
    ['the sender', 1],
  ] as const)('%s moves, five times in a row', async ([, index], { vms, dut, skip }) => {
    skip((await dut.facts()).accel !== 'kvm', UNRELIABLE)
    const [a, b] = vms as [Vm, Vm]
    const moves = vms[index] as Vm
    const [receiver, sender] = await Promise.all([testpmd(a), testpmd(b)])
    await receiver.start('rxonly')
    await sender.start('txonly')
    const received = async () => (await receiver.portStats(0)).rxPackets
    await expect.poll(received, { timeout: 30_000 }).toBeGreaterThan(1000)
    const running = (await moves.exec('pgrep -x dpdk-testpmd')).stdout
    for (let round = 0; round < ROUNDS; round++) {
      const { downtimeMs } = await moves.migrate()
      expect(downtimeMs).toBeGreaterThan(0)
      const now = await received()
      await expect.poll(received, { timeout: 30_000 }).toBeGreaterThan(now + 1000)
    }
    expect((await moves.exec('pgrep -x dpdk-testpmd')).stdout).toBe(running)
    const sent = (await sender.stop()).total.txPackets
    const total = (await receiver.stop()).total.rxPackets
    expect(total).toBeGreaterThan(ROUNDS * 1000)
    expect(total).toBeLessThanOrEqual(sent)
  })
})

test('no backend over there: the guest goes on with the one it has', async ({ dut, backend }) => {
  const vm = await dut.start({
    name: 'third',
    memory: '192M',
    boot: 'cold',
    devices: [vhostUser(backend.port(2))],
  })
  const { pid } = vm
  const devices = { nic0: vhostUser({ path: `${dut.dir}/nobody` }) }
  const error = await vm.migrate({ devices }).catch((e) => e)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toMatch(/not migrated.*Failed to connect to.*nobody/)
  expect(error.hint).toContain('start the backend first')
  expect(vm.pid).toBe(pid)
  expect((await vm.exec('cat /sys/class/net/eth0/address')).exitCode).toBe(0)
  const queues = vm.migrate({ devices: { nic0: vhostUser({ path: '/x', queues: 2 }) } })
  await expect(queues).rejects.toThrow(UsageError)
})

test('a NIC that makes the socket of its backend needs another one', async ({ dut }) => {
  const sw = await vhostSwitch(dut, { ports: 2, client: true })
  const vm = await dut.start({
    name: 'server',
    memory: '192M',
    boot: 'cold',
    devices: [vhostUser(sw.port(0))],
  })
  const error = await vm.migrate().catch((e) => e)
  expect(error).toBeInstanceOf(UsageError)
  expect(error.hint).toContain('devices: { nic0: vhostUser(')
  await vm.migrate({ devices: { nic0: vhostUser(sw.port(1)) } })
  expect(await vm.ports()).toMatchObject([{ peer: { path: sw.path(1) }, netdev: 'eth0' }])
  expect((await vm.cmd('echo on')).output).toBe('on\n')
})
