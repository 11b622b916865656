import { expect, test } from 'vitest'
import { tap, vfio, vhostUser, virtioCrypto } from '../../../src/qemu/devices.ts'
import type { VmHome } from '../../../src/vm/instance/host-services.ts'
import { type MigrateOptions, resolveMigrate } from '../../../src/vm/migration/options.ts'
import { resolveSpec, type VmSpec } from '../../../src/vm/spec/spec.ts'
import { refusal } from '../../support/refusal.ts'

const home = { name: 'dut0' } as VmHome

function resolve(
  given: VmSpec,
  { accel = 'tcg', ...options }: MigrateOptions & { accel?: 'kvm' | 'tcg' } = {},
) {
  const spec = resolveSpec(given, 0)
  const placed = new Map(spec.devices.map((device, i) => [i, { device, mac: '' }]))
  return resolveMigrate(spec, options, { home, placed, accel })
}

test.for<[what: string, spec: VmSpec, message: RegExp, hint: RegExp]>([
  ['a host device', { devices: [vfio('01:00.0')] }, /nic0 .*of the host/, /unplug\('nic0'\)/],
  ['a named tap', { devices: [tap({ name: 't0' })] }, /nic0 has the tap t0/, /nic0: tap\(/],
  [
    'a socket of its own',
    { devices: [vhostUser({ path: '/s', server: true })] },
    /nic0 makes the socket/,
    /server: true/,
  ],
  ['a crypto device', { devices: [virtioCrypto()] }, /crypto/, /leave virtioCrypto/],
  [
    "the guest's own disk",
    { guest: { disk: '/d.qcow2', login: { user: 'root', password: 'x' } } },
    /own disk/,
    /default guest/,
  ],
  [
    'an overlay',
    { disks: [{ file: '/d.raw', snapshot: true }] },
    /snapshot: true/,
    /readonly: true/,
  ],
  ['an nvme disk', { disks: [{ file: '/d', bus: 'nvme', readonly: true }] }, /nvme/, /'scsi'/],
  ['CPUs of its own', { cpus: { count: 1, pin: [0] } }, /CPUs of the host/, /pin: 'auto'/],
  [
    'huge pages, under TCG',
    { memory: { size: '1G', hugepages: true } },
    /huge pages.*under TCG/,
    /memory.hugepages out/,
  ],
])('%s: refused, and what to do instead', ([, spec, message, hint]) => {
  const error = refusal(() => resolve(spec))
  expect(error.message).toMatch(message)
  expect(error.hint).toMatch(hint)
})

test('huge pages go along under KVM', () => {
  const wish = resolve({ memory: { size: '1G', hugepages: '2M' } }, { accel: 'kvm' })
  expect(wish).toMatchObject({ transport: 'unix', timeoutMs: 120_000 })
})

test('what another tap, or another socket, is named for is not refused', () => {
  const there = { nic0: tap({ name: 't1' }) }
  const named = { devices: [tap({ name: 't0' })] }
  expect(resolve(named, { devices: there }).devices).toEqual(there)
  const socket = { nic0: vhostUser({ path: '/t', server: true }) }
  const serving = { devices: [vhostUser({ path: '/s', server: true })] }
  expect(resolve(serving, { devices: socket }).devices).toEqual(socket)
})
