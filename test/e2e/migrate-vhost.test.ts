import { dutTest, expect, InfrastructureError, UsageError, type Vm, vhostUser } from 'vitest-dut'
import { bindDriver, testpmd, vhostSwitch } from 'vitest-dut/dpdk'
import { moveUnderStream } from '../support/moving-stream.ts'
import { isRunning } from '../support/processes.ts'

// Ports 0 and 1 are the guests'; 2 is where one of them can move to.
const test = dutTest({
  backend: (dut) => vhostSwitch(dut, { ports: 3, topology: 'chained' }),
  vms: 2,
  vm: ({ backend, index }) => ({
    memory: '256M',
    devices: [vhostUser(backend.port(index))],
  }),
})

const ROUNDS = 5
/** For so many moves, on a machine that others use too. */
const MOVING_MS = 180_000

/** Its boot, and the testpmd that runs in it. */
const identity = async (vm: Vm) => {
  const { stdout } = await vm.exec(
    'cat /proc/sys/kernel/random/boot_id && pgrep -x dpdk-testpmd && cut -d" " -f22 "/proc/$(pgrep -x dpdk-testpmd)/stat"',
    { check: true },
  )
  return stdout
}

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

test('the sender and the receiver of a stream move in turn, five times each', {
  timeout: MOVING_MS,
}, async ({ vms, backend }) => {
  const [a, b] = vms as [Vm, Vm]
  await connect(backend, '0,1')
  for (const [i, vm] of vms.entries()) {
    await vm.exec(`ip addr replace 10.0.0.${i + 1}/24 dev eth0; ip link set eth0 up`, {
      check: true,
    })
  }
  await moveUnderStream([a, b], ROUNDS)
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
  ] as const)(
    '%s moves, five times in a row',
    { timeout: MOVING_MS },
    async ([, index], { vms }) => {
      const [a, b] = vms as [Vm, Vm]
      const moves = vms[index] as Vm
      const [receiver, sender] = await Promise.all([testpmd(a), testpmd(b)])
      await receiver.start('rxonly')
      await sender.start('txonly')
      const counts = async () => {
        const [{ rxPackets }, { txPackets }] = await Promise.all([
          receiver.portStats(0),
          sender.portStats(0),
        ])
        return Math.min(rxPackets, txPackets)
      }
      await expect.poll(counts).toBeGreaterThan(1000)
      const running = await identity(moves)
      for (let round = 0; round < ROUNDS; round++) {
        const from = moves.pid
        const before = await counts()
        const { downtimeMs } = await moves.migrate()
        expect(downtimeMs).toBeGreaterThan(0)
        expect(isRunning(from)).toBe(false)
        expect(isRunning(moves.pid)).toBe(true)
        expect(await identity(moves)).toBe(running)
        await expect.poll(counts).toBeGreaterThan(before + 1000)
      }
      const sent = (await sender.stop()).total.txPackets
      const total = (await receiver.stop()).total.rxPackets
      expect(total).toBeGreaterThan(ROUNDS * 1000)
      expect(total).toBeLessThanOrEqual(sent)
    },
  )
})

test('no backend over there: the guest goes on with the one it has', async ({ dut, backend }) => {
  const vm = await dut.start({
    name: 'third',
    memory: '192M',
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
    devices: [vhostUser(sw.port(0))],
  })
  const error = await vm.migrate().catch((e) => e)
  expect(error).toBeInstanceOf(UsageError)
  expect(error.hint).toContain('devices: { nic0: vhostUser(')
  await vm.migrate({ devices: { nic0: vhostUser(sw.port(1)) } })
  expect(await vm.ports()).toMatchObject([{ peer: { path: sw.path(1) }, netdev: 'eth0' }])
  expect((await vm.cmd('echo on')).output).toBe('on\n')
})
