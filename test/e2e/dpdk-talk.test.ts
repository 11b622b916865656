import { type Dut, dutTest, expect, link, vhostUser } from 'vitest-dut'
import { bindDriver, type Testpmd, testpmd, vhostSwitch } from 'vitest-dut/dpdk'

const UIO = 'uio_pci_generic'
const test = dutTest({ vm: { memory: '384M', devices: [link('lan')] } })

/** Asks a testpmd all the time until `during` is over; every answer has to be whole, and alone. */
async function askAllTheTime(pmd: Testpmd, during: () => Promise<void>): Promise<number> {
  let [asked, isOver] = [0, false]
  const asking = (async () => {
    for (; !isOver; asked++) {
      const text = await pmd.cmd('show port stats all')
      const lines = text.trim().split('\n')
      expect(lines[0]).toMatch(/^#+ NIC statistics for port 0 +#+$/)
      expect(lines.filter((line) => !/^ *(#|[RT]X-|[RT]x-|Throughput|$)/.test(line))).toEqual([])
      for (const stats of await pmd.allPortStats()) {
        for (const value of Object.values(stats)) expect(value).toBeGreaterThanOrEqual(0)
      }
      expect((await pmd.portInfo(0)).mac).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/)
    }
  })()
  const first = await Promise.race([asking, during()].map((one) => one.catch((e: Error) => e)))
  isOver = true
  if (first instanceof Error) throw first
  await asking
  return asked
}

/** Guests come to the switch and go again, some of them in the midst of something. */
async function comeAndGo(dut: Dut, paths: readonly string[], rounds: number): Promise<void> {
  for (let i = 0; i < rounds; i++) {
    const path = paths[i % paths.length] ?? ''
    const vm = await dut.start({ memory: '256M', devices: [vhostUser({ path })] })
    await vm.exec('ip link set eth0 up')
    if (i % 3 === 2) process.kill(vm.pid, 'SIGKILL')
    await dut.stop(vm).catch(() => {})
  }
}

test('a switch answers whole while guests come and go', { timeout: 200_000 }, async ({ dut }) => {
  const { testpmd: pmd, paths } = await vhostSwitch(dut, { ports: 2 })
  expect(await askAllTheTime(pmd, () => comeAndGo(dut, paths, 6))).toBeGreaterThan(20)
  // So there was something to be told apart.
  expect(pmd.program.console.text).toContain('Rx csum will be done in SW')
})

test('a backend that logs all it does answers whole', { timeout: 200_000 }, async ({ dut }) => {
  const path = `${dut.dir}/own-vhost`
  const pmd = await testpmd(dut, { vdevs: [`net_vhost0,iface=${path}`], eal: ['--log-level=8'] })
  await pmd.start()
  expect(await askAllTheTime(pmd, () => comeAndGo(dut, [path], 3))).toBeGreaterThan(10)
})

test('a guest’s testpmd that logs all it does answers whole', { timeout: 200_000 }, async ({
  vm,
}) => {
  await bindDriver(vm, 0, UIO)
  const pmd = await testpmd(vm, { eal: ['--log-level=pmd.net.virtio.*:8', '--log-level=lib.*:8'] })
  const asked = await askAllTheTime(pmd, async () => {
    for (let i = 0; i < 30; i++) {
      const link = i % 2 === 1 ? 'up' : 'down'
      await vm.qmp('set_link', { name: 'nic0', up: link === 'up' })
      // QEMU before 8.1 does not hear that DPDK unmasks an interrupt with one byte of the PCI command
      // register: what the device raised between the driver's read of its status and the unmasking is
      // never delivered, nor anything after it. Once testpmd knows the link it has unmasked.
      await expect.poll(async () => (await pmd.portInfo(0)).link, { timeout: 30_000 }).toBe(link)
    }
  })
  expect(asked).toBeGreaterThan(0)
  expect(pmd.program.console.text).toMatch(/virtio_\w+\(\): /)
  expect(pmd.program.console.text).toContain('link state change event')
  expect(await pmd.cmd('show port stats 7', { check: false })).toMatch(/^Invalid port 7\n/)
  await expect(pmd.cmd('show port stats 7')).rejects.toThrow('Invalid port 7')
  await pmd.close()
  await bindDriver(vm, 0, 'virtio-pci')
})

test('another DPDK program joins a testpmd that has a file prefix', async ({ vm }) => {
  await bindDriver(vm, 0, UIO)
  const pmd = await testpmd(vm, { filePrefix: 'p1' })
  const { stdout } = await vm.exec('dpdk-proc-info --file-prefix=p1 -- -p 0x1 --stats', {
    timeout: '40s',
    check: true,
  })
  expect(stdout).toContain('RX-packets')
  await pmd.close()
  expect((await vm.exec('ls /dev/hugepages')).stdout).toBe('')
  await bindDriver(vm, 0, 'virtio-pci')
})

test('wide and long queues have buffers', { timeout: 200_000 }, async ({ dut }) => {
  const { port } = await vhostSwitch(dut, { ports: 2, queues: 8 })
  const properties = { rx_queue_size: 1024, tx_queue_size: 1024 }
  const vms = await dut.startAll(
    [0, 1].map((i) => ({ memory: '384M', devices: [vhostUser({ ...port(i), properties })] })),
  )
  await Promise.all(vms.map((vm) => bindDriver(vm, 0, UIO)))
  const args = ['--rxq=8', '--txq=8']
  const [a, b] = await Promise.all(vms.map((vm) => testpmd(vm, { args })))
  await b?.start('rxonly')
  await a?.start('txonly')
  await expect.poll(async () => (await b?.portStats(0))?.rxPackets).toBeGreaterThan(200)
  await Promise.all([a?.close(), b?.close()])
  const few = testpmd(vms[0] as never, { args, mbufs: 4096 })
  await expect(few).rejects.toThrow(/mbufs: 4096 are too few.* 8 of 1024 descriptors for a NIC/)
})

test('a testpmd that cannot have what it is asked for says why, once', async ({ vm }) => {
  await bindDriver(vm, 0, UIO)
  const refusal = (args: string[]) =>
    testpmd(vm, { args }).then(
      () => undefined,
      (error) => error,
    )
  const queues = await refusal(['--rxq=4', '--txq=4'])
  expect(queues.message).toMatch(/did not start: Fail: input rxq \(4\) can't be greater than/)
  expect(queues.hint).toContain('as many queues as the NIC has')
  const frames = await refusal(['--max-pkt-len=9000'])
  expect(frames.message).toMatch(/did not start: .*mbuf pool object size is too small/)
  expect(frames.hint).toContain('--mbuf-size')
  const options = await testpmd(vm, { inMemory: true, eal: ['--legacy-mem'] }).catch((e) => e)
  expect(options.message).toContain('--legacy-mem is not compatible with --in-memory')
  expect(options.hint).toContain('inMemory: false')
  await bindDriver(vm, 0, 'virtio-pci')
})
