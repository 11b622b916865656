import { dutTest, expect, link, userNet, type Vm } from 'vitest-dut'

const test = dutTest({ vms: 0 })

async function address(vm: Vm, host: number): Promise<void> {
  const line = `ip addr add 10.0.0.${host}/24 dev eth0 && ip link set eth0 up`
  await vm.exec(line, { check: true })
}

const KINDS = [
  { machine: 'pc-i440fx-7.2', nic: '0000:00:10.0', processor: 'x86_64' },
  { machine: 'pc-q35-7.2,kernel-irqchip=split', nic: '0000:01:00.0', processor: 'x86_64' },
  { machine: 'virt', nic: '0000:01:00.0', processor: 'aarch64' },
]

for (const { machine, nic, processor } of KINDS) {
  test(`${machine}: boots, is cloned, reaches its neighbour, and has NICs come and go`, async ({
    dut,
  }) => {
    const spec = { memory: '256M', machine, devices: [link('lan'), userNet()] } as const
    const first = await dut.start({ ...spec, boot: 'cold' })
    expect((await first.exec('uname -m', { check: true })).stdout).toBe(`${processor}\n`)
    expect(await first.cmd('echo $((6 * 7))')).toMatchObject({ output: '42\n' })
    await using session = await first.session()
    expect(await session.cmd('hostname')).toMatchObject({ output: `${first.name}\n` })
    const second = await dut.start({ ...spec, boot: 'template' })
    expect(second.startedBy).toBe('clone')
    for (const vm of [first, second]) {
      const [port] = await vm.ports()
      expect(port).toMatchObject({ pci: nic, netdev: 'eth0', id: 'nic0', peer: { name: 'lan' } })
    }
    await address(first, 1)
    await address(second, 2)
    await second.exec('ping -c 1 -w 10 10.0.0.1', { check: true })
    for (const vm of [first, second]) {
      const plugged = await vm.plug(link('lan'))
      expect(plugged).toMatchObject({ id: 'nic2', netdev: 'eth2' })
      await vm.unplug(plugged)
      expect((await vm.exec('ls /sys/class/net')).stdout).toBe('eth0\neth1\nlo\n')
    }
    await first.shutdown()
  })
}

test('what a machine cannot do is said before it is tried', async ({ dut }) => {
  await expect(dut.start({ machine: 'microvm', accel: 'tcg' })).rejects.toThrow(
    /the default guest does not run on a microvm without KVM/,
  )
  await expect(dut.start({ machine: 'virt', accel: 'kvm' })).rejects.toThrow(
    /KVM does not work on .*: guests for arm64 are not run with KVM/,
  )
  await expect(dut.start({ machine: 'virt', qemu: '/no/qemu-system-aarch64' })).rejects.toThrow(
    /qemu-system-aarch64 is not installed/,
  )
  expect(dut.vms).toEqual([])
})
