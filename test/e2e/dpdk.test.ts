import { existsSync } from 'node:fs'
import { dutTest, expect, GuestError, InfrastructureError, type Vm, vhostUser } from 'vitest-dut'
import { bindDriver, type Nic, nics, reserveHugepages, testpmd, vhostSwitch } from 'vitest-dut/dpdk'

const UIO = 'uio_pci_generic'

const test = dutTest({
  backend: (dut) => vhostSwitch(dut, { ports: 2 }),
  vms: 2,
  vm: ({ backend, index }) => ({ memory: '256M', devices: [vhostUser(backend.port(index))] }),
})

test.describe('NICs of a guest', () => {
  test('are listed, as the kernel has them', async ({ vm }) => {
    const [nic, ...others] = (await nics(vm)) as [Nic]
    expect(others).toEqual([])
    const mac = (await vm.exec('cat /sys/class/net/eth0/address')).stdout.trim()
    expect(nic).toMatchObject({ driver: 'virtio-pci', netdev: 'eth0', mac })
    expect(nic.pci).toMatch(/^0000:[0-9a-f]{2}:00\.0$/)
  })

  test('change their driver, and change it back', async ({ vm }) => {
    const [{ pci }] = (await nics(vm)) as [Nic]
    expect(await bindDriver(vm, pci, UIO)).toBe('virtio-pci')
    expect(await nics(vm)).toEqual([{ pci, driver: UIO }])
    expect((await vm.exec('ip link show eth0')).exitCode).not.toBe(0)
    expect(await bindDriver(vm, 0, UIO)).toBe(UIO) // again changes nothing
    expect(await bindDriver(vm, 'all', 'virtio-pci')).toEqual([UIO])
    expect(await nics(vm)).toMatchObject([{ pci, driver: 'virtio-pci', netdev: 'eth0' }])
  })

  test('one that is not there: the error lists those that are', async ({ vm }) => {
    const [{ pci }] = (await nics(vm)) as [Nic]
    const error = await bindDriver(vm, 3, UIO).catch((e) => e)
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toContain('the guest has no NIC 3')
    expect(error.hint).toContain(`0 (${pci})`)
    await expect(bindDriver(vm, '0000:00:99.0', UIO)).rejects.toThrow('0000:00:99.0')
  })

  test('a driver that is not there: the error lists those that are', async ({ vm }) => {
    const error = await bindDriver(vm, 0, 'igb_uio').catch((e) => e)
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toContain('the guest has no PCI driver named igb_uio')
    expect(error.hint).toContain('virtio-pci')
    expect(await nics(vm)).toMatchObject([{ driver: 'virtio-pci' }])
  })

  test('a driver that refuses: the kernel says why and has the NIC again', async ({ vm }) => {
    const error = await bindDriver(vm, 0, 'vfio-pci').catch((e) => e)
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toMatch(/vfio-pci did not take 0000:.*probe of .* failed/s)
    expect(error.hint).toContain('IOMMU')
    expect(await nics(vm)).toMatchObject([{ driver: 'virtio-pci', netdev: 'eth0' }])
  })
})

test.describe('huge pages of a guest', () => {
  const pages = async (vm: Vm) => Number((await vm.exec('cat /proc/sys/vm/nr_hugepages')).stdout)

  test('are there and are given back', async ({ vm }) => {
    const before = await pages(vm)
    {
      await using reserved = await reserveHugepages(vm, 4)
      expect(reserved.total).toBe(before + 4)
      expect(await pages(vm)).toBe(before + 4)
    }
    expect(await pages(vm)).toBe(before)
  })

  test('more than it has memory for', async ({ vm }) => {
    const before = await pages(vm)
    const error = await reserveHugepages(vm, 5000).catch((e) => e)
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toMatch(/vm0: 5000 huge pages of 2M were asked for, the kernel gave 0/)
    expect(await pages(vm)).toBe(before)
  })
})

test('testpmd without a bound NIC is told what to do', async ({ vm }) => {
  const error = await testpmd(vm).catch((e) => e)
  expect(error).toBeInstanceOf(GuestError)
  expect(error.message).toContain('No probed ethernet devices')
  expect(error.hint).toContain(`bindDriver(vm, 0, 'uio_pci_generic')`)
  expect((await vm.exec('pgrep dpdk-testpmd')).stdout).toBe('')
})

test('a program that the guest does not have', async ({ vm }) => {
  const options = { vdevs: ['net_null0'], program: 'dpdk-nope' }
  const error = await testpmd(vm, options).catch((e) => e)
  expect(error).toBeInstanceOf(GuestError)
  expect(error.message).toMatch(/testpmd did not start: .*dpdk-nope: not found/)
  expect(error.hint).toContain('dpdk-dev')
})

test.describe('testpmd in guests', () => {
  test.beforeAll(async ({ vms }) => {
    await Promise.all(vms.map((vm) => bindDriver(vm, 0, UIO)))
  })

  test('one sends, one receives, and no packet is lost unseen', async ({ vms, backend }) => {
    const [a, b] = vms as [Vm, Vm]
    const [sender, receiver] = await Promise.all([testpmd(a), testpmd(b)])
    const sw = backend.testpmd
    await sw.waitLinkUp(0)
    await sw.clearStats()
    await receiver.start('rxonly')
    await sender.setTxPackets(128)
    await sender.start('txonly')
    const received = async () => (await receiver.portStats(0)).rxPackets
    await expect.poll(received, { timeout: 20_000 }).toBeGreaterThan(5000)
    const sent = (await sender.stop()).total.txPackets
    await expect.poll(async () => (await sw.portStats(0)).rxPackets).toBe(sent)
    expect((await sw.portStats(0)).rxBytes).toBe(128 * sent)
    const out = (await sw.forwardStats()).ports[1]!
    expect(out.txTotal).toBe(sent)
    await expect.poll(received).toBe(out.txPackets)
    expect((await receiver.stop()).total.rxPackets).toBe(out.txPackets)
  })

  test('what testpmd complains about is the fault of the guest', async ({ vm }) => {
    await using pmd = await testpmd(vm)
    await expect(pmd.cmd('show port stats 5')).rejects.toThrow(GuestError)
    await expect(pmd.stop()).rejects.toThrow(/vm0: testpmd: "stop": Packet forwarding not started/)
    await pmd.cmd('port stop 0')
    await expect(pmd.start()).rejects.toThrow('Not all ports were started')
    expect(await pmd.portInfo(0)).toMatchObject({ driver: 'net_virtio', mtu: 1500 })
  })

  test('a port of a vdev that does not start is an error', async ({ vm }) => {
    await vm.exec('touch /tmp/taken')
    const error = await testpmd(vm, { vdevs: ['net_vhost0,iface=/tmp/taken'] }).catch((e) => e)
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toMatch(/failed to bind: Address already in use.*Start ports failed/s)
    expect(error.hint).toContain('remove the file')
  })

  test('of all that, no process is left and no huge page is in use', async ({ vms }) => {
    for (const vm of vms) {
      expect((await vm.exec('pgrep dpdk-testpmd; ls /dev/hugepages')).stdout).toBe('')
      const [, total, free] =
        /Total:\s+(\d+)\s+HugePages_Free:\s+(\d+)/.exec(
          (await vm.exec('grep HugePages_ /proc/meminfo')).stdout,
        ) ?? []
      expect(Number(total)).toBeGreaterThan(0)
      expect(free).toBe(total)
    }
  })
})

test('a second switch beside the first, with a VM that is the server', async ({ dut, backend }) => {
  const options = { ports: 2, mode: 'mac', client: true, queues: 2, tso: true } as const
  const sw = await vhostSwitch(dut, options)
  const vm = await dut.start({ memory: '256M', cpus: 2, devices: [vhostUser(sw.port(1))] })
  await vm.exec('ethtool -L eth0 combined 2 && ip link set eth0 up', { check: true })
  await sw.testpmd.waitLinkUp(1)
  expect((await vm.exec('ethtool -k eth0')).stdout).toContain('tx-tcp-segmentation: on')
  expect((await sw.testpmd.portInfo(0)).link).toBe('down')
  expect((await backend.testpmd.forwardStats()).ports).toHaveLength(2)
  expect(sw.paths).not.toContain(backend.path(1))
})

test('a switch does not have the host allocate all of its guests’ memory', async ({
  dut,
  backend,
}) => {
  const ofSwitch = `$(pgrep -f -- file-prefix=${backend.testpmd.filePrefix} | head -n 1)`
  const { stdout: locked } = await dut.exec(`grep VmLck /proc/${ofSwitch}/status`, { check: true })
  expect(locked).toMatch(/^VmLck:\s+0 kB\n$/)
})

test('the socket of a switch that was killed is named, and stands in nobody’s way', async ({
  dut,
}) => {
  const dead = await vhostSwitch(dut, { ports: 2 })
  await dut.exec(`pkill -KILL -f -- file-prefix=${dead.testpmd.filePrefix}`)
  await dead.testpmd.program.exited
  expect(existsSync(dead.path(0))).toBe(true)
  const error = await testpmd(dut, { vdevs: [`net_vhost0,iface=${dead.path(0)}`] }).catch((e) => e)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toContain(dead.path(0))
  expect(error.hint).toContain('remove the file')
  const next = await vhostSwitch(dut, { ports: 2 })
  expect(next.paths).not.toContain(dead.path(0))
})

// The last one: it breaks the backend of all.
test('the death of the switch ends what waits on its VMs, with the cause', async ({
  dut,
  vm,
  backend,
}) => {
  const waiting = vm.cmd('sleep 60', '', '60s').catch((e) => e)
  await vm.exec('until pgrep -x sleep; do :; done')
  const killedAt = performance.now()
  await dut.exec(`pkill -KILL -f -- file-prefix=${backend.testpmd.filePrefix}`)
  const error = await waiting
  expect(performance.now() - killedAt).toBeLessThan(2000)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toMatch(/the backend that vm0 leans on is gone/)
  expect(String(error.cause)).toContain('status 137')
  expect(error.command).toContain('net_vhost0')
  expect((await vm.exec('echo alive')).stdout).toBe('alive\n')
})
