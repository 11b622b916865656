import { detectTopology, dutTest, expect, link, UsageError, type Vm } from 'vitest-dut'
import { bindDriver } from 'vitest-dut/dpdk'
import { statesOf, wiring } from '../support/wiring.ts'

const test = dutTest({ vms: 3, vm: { memory: '192M', devices: [link('lan'), link('lan')] } })

test('a port has several others, those of its own VM too', async ({ vms }) => {
  const all = vms.flatMap(({ name }) => [`${name}/nic0`, `${name}/nic1`])
  const expected = Object.fromEntries(
    all.map((port) => [port, all.filter((other) => other !== port).join()]),
  )
  expect(wiring(vms, await detectTopology(vms))).toEqual(expected)
})

test('a port that DPDK has is not probed, and it says why', async ({ vms, vm }) => {
  await bindDriver(vm, 1, 'uio_pci_generic')
  const [ports] = await detectTopology(vms)
  expect(ports?.[1]).toMatchObject({
    driver: 'uio_pci_generic',
    peer: { kind: 'link', name: 'lan' },
    notProbed: `uio_pci_generic has it, and not the guest's kernel`,
  })
  expect(ports?.[1]).not.toHaveProperty('connected')
  expect(ports?.[0]?.connected).toHaveLength(4)
  await bindDriver(vm, 1, 'virtio-pci')
})

test('probes at the same time do not spoil each other', async ({ vms }) => {
  const before = await statesOf(vms)
  const found = await Promise.all(vms.map((vm) => vm.ports({ detect: true })))
  for (const ports of found) {
    expect(ports.map(({ connected }) => connected?.length)).toEqual([5, 5])
  }
  expect(await statesOf(vms)).toEqual(before)
})

test('ends by a signal, or by its deadline, with the ports as they were', async ({ vms, vm }) => {
  const before = await statesOf(vms)
  const stop = new AbortController()
  // With nothing to be heard the other way, it goes on until the deadline.
  await vm.qmp('set_link', { name: 'nic0', up: false })
  const detecting = detectTopology(vms, { timeout: '60s', signal: stop.signal })
  const isUp = async () => (await vm.exec('cat /sys/class/net/eth1/flags')).stdout.trim()
  await expect.poll(isUp).toBe('0x1003')
  stop.abort(new Error('enough'))
  await expect(detecting).rejects.toThrow('enough')
  await expect.poll(() => statesOf(vms)).toEqual(before)
  const [ports] = await detectTopology(vms, { timeout: '500ms' })
  expect(ports?.map(({ connected }) => connected?.length)).toEqual([0, 4])
  await vm.qmp('set_link', { name: 'nic0', up: true })
})

test('a VM that is paused is left out, or said to be', async ({ vms, vm }) => {
  const [, second] = vms as [Vm, Vm, Vm]
  await second.pause()
  const error = await detectTopology(vms).catch((e) => e)
  expect(error).toBeInstanceOf(UsageError)
  expect(error.message).toContain(`${second.name}: the ports of a VM that is paused`)
  const ports = await vm.ports({ detect: true })
  expect(ports.map(({ connected }) => connected?.length)).toEqual([3, 3])
  await second.resume()
})

test('a bridge in a guest is seen through, and its ports are seen', async ({ vms, vm, skip }) => {
  const { exitCode } = await vm.exec('ip link add br0 type bridge')
  skip(exitCode !== 0, 'the guest has no bridges')
  await vm.exec('ip link set eth0 master br0; ip link set br0 up; ip link set eth0 up')
  const [ports] = await detectTopology(vms)
  expect(ports?.map(({ connected }) => connected?.length)).toEqual([5, 5])
  await vm.exec('ip link delete br0')
})
