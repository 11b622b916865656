import { dutTest, expect, InfrastructureError, link, UsageError, virtioCrypto } from 'vitest-dut'

const test = dutTest({
  vm: { memory: '192M', devices: [virtioCrypto(), link('lan'), virtioCrypto()] },
})

const IDS = 'cd /sys/bus/pci/devices; for d in *; do echo $(cat $d/vendor $d/device $d/class); done'

test('a guest has crypto devices, and its NIC is what it is without', async ({ vm }) => {
  const { stdout } = await vm.exec(IDS, { check: true })
  expect(stdout.match(/^0x1af4 0x1054 /gm)).toHaveLength(2)
  expect(vm.startedBy).toBe('cold')
  expect(await vm.ports()).toMatchObject([
    { id: 'nic1', netdev: 'eth0', peer: { kind: 'link', name: 'lan' } },
  ])
})

test('other devices come and go beside it', async ({ vm }) => {
  const nic = await vm.plug(link('lan'))
  expect(await vm.ports()).toHaveLength(2)
  await vm.unplug(nic)
  await vm.unplug('nic1')
  expect(await vm.ports()).toEqual([])
  await expect(vm.unplug('nic0')).rejects.toThrow(UsageError)
})

test('it is there after a restart', async ({ vm }) => {
  await vm.restart()
  expect((await vm.exec(IDS)).stdout.match(/^0x1af4 0x1054 /gm)).toHaveLength(2)
})

test('what cannot be done with it', async ({ vm }) => {
  await expect(vm.plug(virtioCrypto())).rejects.toThrow(/cannot be plugged into a running VM/)
  const migrating = await vm.migrate().catch((e) => e)
  expect(migrating).toBeInstanceOf(UsageError)
  expect(migrating.message).toContain('QEMU cannot move a crypto device')
  await expect(vm.snapshot()).rejects.toThrow(InfrastructureError)
  expect((await vm.cmd('echo on')).output).toBe('on\n')
})

test('a backend that is not there', async ({ dut }) => {
  const devices = [virtioCrypto({ path: `${dut.dir}/nobody` })]
  const error = await dut.start({ name: 'alone', devices }).catch((e) => e)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toMatch(/Failed to connect to.*nobody/)
  expect(error.hint).toContain('start the backend first')
})
