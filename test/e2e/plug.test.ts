import {
  type Device,
  type Dut,
  dutTest,
  expect,
  GuestError,
  InfrastructureError,
  link,
  raw,
  tap,
  UsageError,
  userNet,
  type Vm,
  vhostUser,
} from 'vitest-dut'
import { bindDriver, testpmd, vhostSwitch } from 'vitest-dut/dpdk'
import { localHost } from '../../src/host/local.ts'
import { readLedger } from '../../src/lease/ledger/records.ts'

const test = dutTest({ vms: 0 })
const mayChangeNetworks = process.getuid?.() === 0
const SHARED = { memory: { size: '256M', shared: true } } as const

/** All that a device can leave behind: in the guest, in QEMU, and on the host. */
async function remains(dut: Dut, vm: Vm): Promise<string[]> {
  const monitor = (line: string) =>
    vm.qmp('human-monitor-command', { 'command-line': line }) as Promise<string>
  const { stdout: guest } = await vm.exec('ls /sys/bus/pci/devices /sys/class/net', { check: true })
  const { stdout: host } = await dut.exec(
    `readlink /proc/${vm.pid}/fd/* | sort; ls -R ${dut.dir}; ls /sys/class/net; cat /proc/net/unix | grep -c ${dut.dir}`,
  )
  const { leases } = await readLedger(localHost())
  return [
    ...[guest, host, await monitor('info network'), await monitor('info usernet')],
    JSON.stringify(await vm.qmp('query-rx-filter')),
    ...(await vm.qmp('query-chardev')).map(({ label, filename }) => `${label} ${filename}`),
    ...leases.filter(({ dir }) => dir === dut.dir).map(({ file }) => file),
  ].flatMap((text) => text.split('\n'))
}

async function address(vm: Vm, netdev: string, n: number): Promise<void> {
  const command = `ip addr add 10.0.0.${n}/24 dev ${netdev} && ip link set ${netdev} up`
  await vm.exec(command, { check: true })
}

for (const boot of ['auto', 'cold'] as const) {
  test.describe(boot === 'auto' ? 'a clone' : 'a VM that booted', () => {
    test('plug and unplug ten times leave nothing behind', async ({ dut }) => {
      const sw = await vhostSwitch(dut, { ports: 2 })
      const vm = await dut.start({ ...SHARED, boot, devices: [link('lan')] })
      expect(vm.startedBy).toBe(boot === 'auto' ? 'clone' : 'cold')
      const kinds: Device[] = [link('lan'), userNet({ forward: [7] }), vhostUser(sw.port(0))]
      if (mayChangeNetworks) kinds.push(tap({ bridge: `dutp${process.pid}` }))
      const before = await remains(dut, vm)
      for (let i = 0; i < 10; i++) {
        for (const device of kinds) {
          const nic = await vm.plug(device)
          expect(nic).toMatchObject({ id: 'nic1', netdev: 'eth1' })
          await vm.exec('ip link set eth1 up', { check: true })
          await vm.unplug(nic)
        }
      }
      expect(await remains(dut, vm)).toEqual(before)
    })

    test('traffic passes through a plugged NIC of a link', async ({ dut }) => {
      const other = await dut.start({ devices: [link('lan')], boot })
      const vm = await dut.start({ boot })
      await address(other, 'eth0', 2)
      for (let i = 0; i < 3; i++) {
        const nic = await vm.plug(link('lan'))
        const { stdout } = await vm.exec('cat /sys/class/net/eth0/address; ls /sys/bus/pci/devices')
        expect(stdout).toContain(`${nic.mac}\n`)
        expect(stdout).toContain(`${nic.pci}\n`)
        await address(vm, 'eth0', 1)
        const ping = await vm.exec('ping -c 5 -l 5 -W 20 10.0.0.2')
        expect(ping.stdout).toContain('5 received')
        await vm.unplug(nic.id)
        expect((await vm.exec('ls /sys/class/net')).stdout).toBe('lo\n')
      }
    })

    test('a plugged vhost-user NIC passes what one given at the start passes', async ({ dut }) => {
      const sw = await vhostSwitch(dut, { ports: 2 })
      const [a, b] = (await dut.startAll([
        { memory: '256M', boot, devices: [vhostUser(sw.port(0))] },
        { ...SHARED, boot },
      ])) as [Vm, Vm]
      await b.plug(vhostUser(sw.port(1)))
      await Promise.all([address(a, 'eth0', 1), address(b, 'eth0', 2)])
      expect((await b.exec('ping -c 5 -l 5 -W 20 10.0.0.1')).stdout).toContain('5 received')

      await Promise.all([a, b].map((vm) => bindDriver(vm, 0, 'uio_pci_generic')))
      const pmds = await Promise.all([testpmd(a), testpmd(b)])
      for (const [from, to] of [
        [0, 1],
        [1, 0],
      ] as const) {
        const [sender, receiver] = [pmds[from], pmds[to]]
        await sw.testpmd.waitLinkUp(from)
        await Promise.all([sw.testpmd.clearStats(), ...pmds.map((pmd) => pmd.clearStats())])
        await receiver.start('rxonly')
        await sender.start('txonly')
        const received = async () => (await receiver.portStats(0)).rxPackets
        await expect.poll(received, { timeout: 20_000 }).toBeGreaterThan(5000)
        const sent = (await sender.stop()).total.txPackets
        await expect.poll(async () => (await sw.testpmd.portStats(from)).rxPackets).toBe(sent)
        const passed = (await sw.testpmd.portStats(to)).txPackets
        await expect.poll(received).toBe(passed)
        expect((await receiver.stop()).total.rxPackets).toBe(passed)
      }
    })
  })
}

test('ports of a plugged NIC are forwarded as long as it is there', async ({ dut }) => {
  const vm = await dut.start({ devices: [userNet({ forward: [9] })] })
  const leases = async () =>
    (await readLedger(localHost())).leases.filter(({ dir }) => dir === dut.dir)
  const atStart = vm.forward(9)
  const nic = await vm.plug(userNet({ forward: [7, { port: 8, protocol: 'udp' }] }))
  const { host, port } = vm.forward(7)
  expect(vm.forward(9)).toEqual(atStart)
  expect(vm.forward(8, 'udp').port).not.toBe(port)
  expect((await leases()).map(({ holding }) => holding.ports.length).sort()).toEqual([1, 2])

  await vm.exec('ip addr add 10.0.2.15/24 dev eth1 && ip link set eth1 up', { check: true })
  await vm.spawn('socat -d -d TCP-LISTEN:7,fork SYSTEM:hostname', { prompt: 'listening on' })
  const { stdout } = await dut.exec(`cat </dev/tcp/${host}/${port}`, { check: true })
  expect(stdout).toBe('vm0\n')

  await vm.unplug(nic)
  expect(() => vm.forward(7)).toThrow(UsageError)
  expect(await leases()).toHaveLength(1)
  await vm.plug(userNet({ forward: [7] }))
  expect(await leases()).toHaveLength(2)
  await vm.stop()
  expect(await leases()).toEqual([])
})

test.runIf(mayChangeNetworks)('a bridge lives as long as a plugged tap', async ({ dut }) => {
  const vm = await dut.start()
  const bridge = `dutq${process.pid}`
  const ports = async () => (await dut.exec(`ls /sys/class/net/${bridge}/brif 2>&1`)).stdout
  const nic = await vm.plug(tap({ bridge }))
  expect(await ports()).toMatch(/^dut[0-9a-f]{8}\n$/)
  await dut.exec(`ip addr add 198.18.78.1/24 dev ${bridge}`, { check: true })
  await vm.exec('ip addr add 198.18.78.2/24 dev eth0 && ip link set eth0 up', { check: true })
  await vm.exec('ping -c 1 -w 10 198.18.78.1', { check: true })
  await vm.unplug(nic)
  expect(await ports()).toContain('No such file')
})

test('several at once come in the order of the calls, and devices of the start go', async ({
  dut,
}) => {
  const vm = await dut.start({ devices: [link('a'), raw('-device', 'edu'), userNet()] })
  const nics = await Promise.all([vm.plug(link('a')), vm.plug(link('b')), vm.plug(userNet())])
  expect(nics.map(({ id, netdev }) => `${id} ${netdev}`)).toEqual([
    ...['nic1 eth2', 'nic3 eth3', 'nic4 eth4'],
  ])
  expect(new Set(nics.map(({ mac }) => mac)).size).toBe(3)
  await Promise.all([vm.unplug('nic0'), vm.unplug('nic2'), vm.unplug('nic3')])
  const { stdout } = await vm.exec('ls /sys/class/net')
  expect(stdout.split('\n').sort()).toEqual(['', 'eth2', 'eth4', 'lo'])
  const again = await vm.unplug('nic3').catch((error) => error)
  expect(again).toBeInstanceOf(UsageError)
  expect(again.hint).toContain('it has nic1, nic4')
})

test('a machine whose ports are all taken', async ({ dut }) => {
  const devices = Array.from({ length: 7 }, () => userNet())
  const vm = await dut.start({ devices })
  await vm.plug(userNet())
  await expect(vm.plug(userNet())).rejects.toThrow('vm0 has no free port: 8 devices at a time')
  await vm.unplug('nic5')
  expect((await vm.plug(userNet())).id).toBe('nic5')
})

test('what cannot be plugged is refused', async ({ dut }) => {
  const vm = await dut.start()
  const before = await remains(dut, vm)
  await expect(vm.plug(raw('-device', 'edu'))).rejects.toThrow(UsageError)
  const unshared = await vm.plug(vhostUser({ path: '/nowhere' })).catch((error) => error)
  expect(unshared).toBeInstanceOf(UsageError)
  expect(unshared.hint).toContain(`memory: { size: '512M', shared: true }`)
  await expect(vm.plug('lan' as never)).rejects.toThrow('this is not a device')
  await expect(vm.unplug('eth0')).rejects.toThrow('vm0 has no device "eth0" to unplug')
  const wrong = { properties: { nonsense: true } }
  await expect(vm.plug(userNet({ forward: [7], ...wrong }))).rejects.toThrow(/nonsense' not found/)
  expect(await remains(dut, vm)).toEqual(before)
  await vm.stop()
  await expect(vm.plug(userNet())).rejects.toThrow('was stopped')
})

test('a backend that is not there, and one that comes to us', async ({ dut }) => {
  const vm = await dut.start(SHARED)
  const before = await remains(dut, vm)
  const error = await vm.plug(vhostUser({ path: `${dut.dir}/nobody` })).catch((e) => e)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toMatch(/Failed to connect to '.*nobody'/)
  expect(error.hint).toContain('start the backend first')
  expect(await remains(dut, vm)).toEqual(before)
  const sw = await vhostSwitch(dut, { ports: 2, client: true })
  const nic = await vm.plug(vhostUser(sw.port(0)))
  await vm.exec(`ip link set ${nic.netdev} up`, { check: true })
  await sw.testpmd.waitLinkUp(0)
  await vm.unplug(nic)
})

test('a guest that does not answer: a deadline, and it can be done afterwards', async ({ dut }) => {
  const vm = await dut.start()
  await vm.pause()
  const unseen = await vm.plug(link('lan'), { timeout: '500ms' }).catch((error) => error)
  expect(unseen).toBeInstanceOf(GuestError)
  expect(unseen.message).toMatch(/the guest does not see nic0 at 0000:01:00\.0/)
  expect(unseen.hint).toContain("vm.unplug('nic0')")
  await vm.resume()
  await expect.poll(async () => (await vm.exec('ls /sys/class/net')).stdout).toContain('eth0')
  await vm.pause()
  const kept = await vm.unplug('nic0', { timeout: '500ms' }).catch((error) => error)
  expect(kept).toBeInstanceOf(GuestError)
  expect(kept.hint).toContain('call vm.unplug again')
  await vm.resume()
  await vm.unplug('nic0')
  expect((await vm.exec('ls /sys/class/net')).stdout).toBe('lo\n')

  const again = await vm.plug(link('lan'))
  await vm.pause()
  await expect(vm.unplug(again, { timeout: '500ms' })).rejects.toThrow(GuestError)
  await vm.resume()
  await expect.poll(async () => JSON.stringify(await vm.qmp('query-pci'))).not.toContain('"nic0"')
  await vm.unplug(again)
  const network = await vm.qmp('human-monitor-command', { 'command-line': 'info network' })
  expect(network).not.toContain('net0')
})

test('the death of the VM ends the wait', async ({ dut }) => {
  const vm = await dut.start()
  await vm.pause()
  const waiting = vm.plug(link('lan')).catch((error) => error)
  await expect
    .poll(async () => vm.qmp('human-monitor-command', { 'command-line': 'info network' }))
    .toContain('nic0')
  await vm.kill()
  expect(await waiting).toMatchObject({ name: 'VmDiedError' })
})
