import { describe, expect, test } from 'vitest'
import { link } from '../../src/qemu/devices.ts'
import {
  checkMachineAccel,
  hasSlots,
  machineKind,
  resolveMachine,
} from '../../src/qemu/machine-kind.ts'
import { refusal } from '../support/refusal.ts'
import { valuesOf } from '../support/shape.ts'

const mac = '52:54:00:00:00:00'
const devices = [{ device: link('lan'), mac, segment: '/s' }]
const nicOf = (machine: string) =>
  valuesOf('-device', { machine, devices }).find((device) => device.startsWith('virtio-net-pci'))

test.each([
  ['q35', 'amd64', true],
  ['q35,kernel-irqchip=split', 'amd64', true],
  ['pc-q35-7.2', 'amd64', true],
  ['pc', 'amd64', true],
  ['pc,usb=off', 'amd64', true],
  ['pc-i440fx-7.2', 'amd64', true],
  ['microvm', 'amd64', false],
  ['isapc', 'amd64', false],
  ['virt', 'arm64', true],
  ['virt-7.2,gic-version=3', 'arm64', true],
])('a %s is for %s, and takes devices while it runs: %s', (machine, arch, slots) => {
  expect(machineKind(machine).arch.name).toBe(arch)
  expect(hasSlots(machine)).toBe(slots)
})

describe('its arguments', () => {
  test('a pc has its devices on its one bus, where none is by itself', () => {
    expect(nicOf('pc-i440fx-7.2')).toContain('id=nic0,bus=pci.0,addr=0x10,')
    expect(valuesOf('-device', { machine: 'pc' }).join()).not.toContain('root-port')
  })

  test('a virt has the ports of a q35, and the CPU that its emulator is quick at', () => {
    const ports = (machine: string) =>
      valuesOf('-device', { machine }).filter((device) => device.startsWith('pcie-root-port'))
    expect(ports('virt')).toHaveLength(8)
    expect(ports('virt')).toEqual(ports('q35'))
    expect(nicOf('virt')).toContain('id=nic0,bus=slot0,')
    expect(valuesOf('-cpu', { machine: 'virt' })).toEqual(['cortex-a72'])
    expect(valuesOf('-cpu', { machine: 'virt', cpu: { count: 1, model: 'max' } })).toEqual(['max'])
    expect(valuesOf('-cpu')).toEqual(['max'])
  })

  test('a microvm gets PCI Express, and its properties stay', () => {
    const machine = 'microvm,rtc=off'
    expect(valuesOf('-machine', { machine })).toEqual([
      'microvm,rtc=off,pcie=on,memory-backend=ram',
    ])
    expect(nicOf(machine)).not.toContain('bus=')
  })
})

describe('what is not said', () => {
  test.each([
    [{}, { machine: 'q35', qemu: 'qemu-system-x86_64' }],
    [{ machine: 'pc' }, { machine: 'pc', qemu: 'qemu-system-x86_64' }],
    [{ machine: 'virt' }, { machine: 'virt', qemu: 'qemu-system-aarch64' }],
    [
      { qemu: '/opt/q/qemu-system-aarch64' },
      { machine: 'virt', qemu: '/opt/q/qemu-system-aarch64' },
    ],
    [{ qemu: '/opt/mine' }, { machine: 'q35', qemu: '/opt/mine' }],
    [
      { machine: 'virt', qemu: '/opt/mine' },
      { machine: 'virt', qemu: '/opt/mine' },
    ],
  ])('%j is %j', (given, wanted) => {
    expect(resolveMachine('vm0', given)).toEqual(wanted)
  })
})

describe('is refused', () => {
  test.each([
    ['virt', 'qemu-system-x86_64', `machine: 'q35'`],
    ['pc', '/usr/bin/qemu-system-aarch64', `machine: 'virt'`],
  ])('a %s of %s', (machine, qemu, wanted) => {
    const { message, hint } = refusal(() => resolveMachine('vm0', { machine, qemu }))
    expect(message).toContain(`vm0: ${qemu} has no machine of type ${machine}`)
    expect(hint).toContain(wanted)
  })

  test('an emulator of a processor that nothing is built for', () => {
    const qemu = '/usr/bin/qemu-system-riscv64'
    const { message, hint } = refusal(() => resolveMachine('vm0', { qemu }))
    expect(message).toContain(`vm0: ${qemu} emulates a riscv64`)
    expect(hint).toBe('qemu-system-x86_64 or qemu-system-aarch64')
  })

  test.each(['pcie=off', 'acpi=off'])('a microvm with %s', (off) => {
    const machine = `microvm,rtc=on,${off}`
    const { message, hint } = refusal(() => resolveMachine('vm0', { machine }))
    expect(message).toContain(`a microvm with ${off} has no PCI`)
    expect(hint).toContain(`leave ${off} out`)
  })

  test('a microvm with the default guest, without KVM', () => {
    const spec = { name: 'vm0', machine: 'microvm', guest: 'default' }
    const { message, hint } = refusal(() => checkMachineAccel(spec, 'tcg'))
    expect(message).toContain('vm0: the default guest does not run on a microvm without KVM')
    expect(hint).toContain('q35')
    checkMachineAccel(spec, 'kvm')
    checkMachineAccel({ ...spec, guest: {} }, 'tcg')
    checkMachineAccel({ ...spec, machine: 'q35' }, 'tcg')
  })
})
