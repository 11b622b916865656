import { dutTest, expect, link, raw, type Vm } from 'vitest-dut'
import { shellQuote } from '../../src/console/line.ts'
import type { Host } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { bindVfio, giveBackPci, inspectPci } from '../../src/lease/resources/pci.ts'

// A machine with an IOMMU is rare, a guest with one is not: here the guest is the host.
const test = dutTest({
  vm: {
    memory: '384M',
    devices: [
      link('lan'),
      raw('-device', 'intel-iommu'),
      raw('-device', 'e1000e,addr=8'), // the guest has no driver for it
      raw('-device', 'virtio-net-pci,addr=10.0,multifunction=on'),
      raw('-device', 'virtio-net-pci,addr=10.1'),
    ],
  },
})

/** What of a host is needed to hand over PCI devices, in the guest. */
function guestAsHost(vm: Vm): Host {
  const run: Host['run'] = (file, args, { input } = {}) =>
    vm.exec([file, ...args].map(shellQuote).join(' '), { input, stderr: 'apart' })
  return {
    ...localHost(),
    run,
    name: vm.name,
    readFile: async (path) => (await vm.exec(`cat ${path}`, { check: true })).stdoutBytes,
    listDir: async (path) => {
      const { stdout } = await vm.exec(`ls -A ${path} 2>/dev/null`)
      return stdout.split('\n').filter((name) => name !== '')
    },
  }
}

/** The driver of a device, what its override names, and whether QEMU could be given its group. */
async function state(vm: Vm, address: string): Promise<string> {
  const { stdout } = await vm.exec(`
cd /sys/bus/pci/devices/${address}
basename "$(readlink driver || echo none)"
cat driver_override
test -e /dev/vfio/$(basename $(readlink iommu_group)) && echo open || echo shut`)
  return stdout.trim().replaceAll('\n', ' ')
}

/** The link's NIC: in a port of its own, behind those of bus 0. */
const nic = '0000:01:00.0'

async function netdevOf(vm: Vm, address: string): Promise<string> {
  const { stdout } = await vm.exec(`ls /sys/bus/pci/devices/${address}/virtio*/net`)
  return stdout.trim()
}

test('devices go to vfio-pci and come back as they were', async ({ vm }) => {
  const host = guestAsHost(vm)
  const eth = await netdevOf(vm, nic)
  await expect(inspectPci(host, nic)).rejects.toThrow(/vfio-pci is not loaded.*modprobe vfio-pci/s)
  await vm.exec('modprobe vfio-pci', { check: true })

  const before = 'virtio-pci (null) shut'
  const device = await inspectPci(host, nic)
  expect(device).toEqual({ address: nic, driver: 'virtio-pci' })
  expect(await state(vm, nic)).toBe(before)
  for (let round = 0; round < 2; round++) {
    await bindVfio(host, device)
    expect(await state(vm, nic)).toBe('vfio-pci vfio-pci open')
    expect((await vm.exec(`ip link show ${eth}`)).exitCode).toBe(1)
    await giveBackPci(host, device)
    await giveBackPci(host, device)
    expect(await state(vm, nic)).toBe(before)
    expect((await vm.exec(`ip link show ${eth}`)).exitCode).toBe(0)
  }
  await vm.exec(`cd /sys/bus/pci/devices/${nic}
echo vfio-pci >driver_override; echo ${nic} >driver/unbind`)
  expect(await state(vm, nic)).toBe('none vfio-pci shut')
  await giveBackPci(host, device)
  expect(await state(vm, nic)).toBe(before)

  const idle = await inspectPci(host, '0000:00:08.0')
  expect(idle).toEqual({ address: '0000:00:08.0' })
  await bindVfio(host, idle)
  expect(await state(vm, idle.address)).toBe('vfio-pci vfio-pci open')
  await giveBackPci(host, idle)
  expect(await state(vm, idle.address)).toBe('none (null) shut')
})

test('a device that cannot go says why', async ({ vm }) => {
  const host = guestAsHost(vm)
  await vm.exec('modprobe vfio-pci', { check: true })
  const [one, two] = ['0000:00:10.0', '0000:00:10.1']
  await expect(inspectPci(host, one)).rejects.toThrow(`${two} (virtio-pci) of its IOMMU group`)
  expect(await inspectPci(host, one, '/sys', [two])).toMatchObject({ driver: 'virtio-pci' })

  const eth = await netdevOf(vm, nic)
  await vm.exec(`ip addr add 10.0.0.1/24 dev ${eth}; ip link set ${eth} up`, { check: true })
  await expect(inspectPci(host, nic)).rejects.toThrow(`uses ${nic}: ${eth} is up with 10.0.0.1`)
  await vm.exec(`ip link add br0 type bridge; ip link set ${eth} master br0`, { check: true })
  await expect(inspectPci(host, nic)).rejects.toThrow(`uses ${nic}: ${eth} is part of br0`)
})
