import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { mkdir, rm, symlink } from 'node:fs/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { InfrastructureError } from '../../../src/errors.ts'
import { localHost } from '../../../src/host/local.ts'
import {
  type BoundDevice,
  bindVfio,
  giveBackPci,
  inspectPci,
} from '../../../src/lease/resources/pci.ts'
import { type FakeDevice, type FakeSysfs, fakeSysfs } from '../../support/pci-sysfs.ts'

const host = localHost()
const NIC = '0000:03:00.0'
const DRIVERS = ['vfio-pci', 'ixgbe', 'igb', 'pci-stub']

const folders: FakeSysfs[] = []
afterEach(async () => {
  await Promise.all(folders.splice(0).map((sysfs) => sysfs.end()))
})

async function sysfsWith(device: FakeDevice, others: Record<string, FakeDevice> = {}) {
  const devices = { [NIC]: { group: 7, ...device }, ...others }
  const sysfs = await fakeSysfs(host, { drivers: DRIVERS, devices })
  folders.push(sysfs)
  return sysfs
}

const refusal = async (call: Promise<unknown>): Promise<InfrastructureError> => {
  const error = await call.then(
    () => expect.unreachable(),
    (error) => error,
  )
  expect(error).toBeInstanceOf(InfrastructureError)
  return error
}

describe('a device is handed over and given back:', () => {
  test('that a driver of the host has', async () => {
    const sysfs = await sysfsWith({ driver: 'ixgbe' })
    const device = await inspectPci(host, NIC, sysfs.path)
    expect(device).toEqual({ address: NIC, driver: 'ixgbe' })
    expect(await sysfs.log()).toEqual([])
    await bindVfio(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual(['vfio-pci', 'vfio-pci'])
    expect(await sysfs.log()).toEqual([
      'unbind ixgbe, override vfio-pci',
      'bind vfio-pci, override vfio-pci',
    ])
    await giveBackPci(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual(['ixgbe', ''])
    expect((await sysfs.log()).slice(2)).toEqual([
      'unbind vfio-pci, override ixgbe',
      'bind ixgbe, override ixgbe',
    ])
    await giveBackPci(host, device, sysfs.path)
    expect(await sysfs.log()).toHaveLength(4)
  })

  test('that nothing has', async () => {
    const sysfs = await sysfsWith({})
    const device = await inspectPci(host, NIC, sysfs.path)
    expect(device).toEqual({ address: NIC })
    await bindVfio(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual(['vfio-pci', 'vfio-pci'])
    await giveBackPci(host, device, sysfs.path)
    await giveBackPci(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual([undefined, ''])
    expect(await sysfs.log()).toEqual([
      'bind vfio-pci, override vfio-pci',
      'unbind vfio-pci, override vfio-pci',
    ])
  })

  test('whose driver takes it only where it is named', async () => {
    const sysfs = await sysfsWith({ driver: 'igb', override: 'igb', known: false })
    const device = await inspectPci(host, NIC, sysfs.path)
    expect(device).toEqual({ address: NIC, driver: 'igb', override: 'igb' })
    await bindVfio(host, device, sysfs.path)
    await giveBackPci(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual(['igb', 'igb'])
  })

  test('whose driver no longer knows it: new_id is forgotten by the driver, not by us', async () => {
    const sysfs = await sysfsWith({ driver: 'igb', known: false })
    const device = await inspectPci(host, NIC, sysfs.path)
    await bindVfio(host, device, sysfs.path)
    await giveBackPci(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual(['igb', ''])
  })

  test('that is kept for a driver which has not come yet', async () => {
    const sysfs = await sysfsWith({ override: 'igb' })
    const device = await inspectPci(host, NIC, sysfs.path)
    await bindVfio(host, device, sysfs.path)
    await giveBackPci(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual([undefined, 'igb'])
  })

  test.each(['vfio-pci', ''])('that vfio-pci had before, with override %j', async (override) => {
    const sysfs = await sysfsWith({ driver: 'vfio-pci', override })
    const device = await inspectPci(host, NIC, sysfs.path)
    await bindVfio(host, device, sysfs.path)
    await giveBackPci(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual(['vfio-pci', override])
    expect(await sysfs.log()).toEqual([])
  })
})

describe('given back from half-way:', () => {
  const device: BoundDevice = { address: NIC, driver: 'ixgbe' }
  test.each<[string, FakeDevice, number]>([
    ['nothing was done yet', { driver: 'ixgbe' }, 0],
    ['only the override was set', { driver: 'ixgbe', override: 'vfio-pci' }, 0],
    ['its driver had let go', { override: 'vfio-pci' }, 1],
    ['it was handed over', { driver: 'vfio-pci', override: 'vfio-pci' }, 2],
    ['it was being given back: named', { driver: 'vfio-pci', override: 'ixgbe' }, 2],
    ['it was being given back: let go', { override: 'ixgbe' }, 1],
    ['it was given back but for the override', { driver: 'ixgbe', override: 'ixgbe' }, 0],
  ])('%s', async (_, state, writes) => {
    const sysfs = await sysfsWith(state)
    await giveBackPci(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual(['ixgbe', ''])
    expect(await sysfs.log()).toHaveLength(writes)
  })

  test('handing over goes on where it was cut short', async () => {
    const sysfs = await sysfsWith({ override: 'vfio-pci' })
    await bindVfio(host, device, sysfs.path)
    await bindVfio(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual(['vfio-pci', 'vfio-pci'])
    expect(await sysfs.log()).toHaveLength(1)
  })

  test('somebody else gave it to another driver meanwhile', async () => {
    const sysfs = await sysfsWith({ driver: 'igb', override: 'igb' })
    await giveBackPci(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual(['igb', 'igb'])
    expect(await sysfs.log()).toEqual([])
  })

  test('the device is gone', async () => {
    const sysfs = await sysfsWith({})
    await giveBackPci(host, { address: '0000:99:00.0', driver: 'ixgbe' }, sysfs.path)
    expect(await sysfs.log()).toEqual([])
  })

  test('vfio-pci refuses it', async () => {
    const sysfs = await sysfsWith({ driver: 'ixgbe' })
    const bind = `${sysfs.driverPath('vfio-pci')}/bind`
    await rm(bind)
    await mkdir(bind) // whatever is written to it is an error at once, as it is in sysfs
    const error = await refusal(bindVfio(host, device, sysfs.path))
    expect(error.message).toContain(`"${NIC}" could not be written to ${bind}`)
    expect(error.tail).toContain('Is a directory')
    expect(await sysfs.state(NIC)).toEqual([undefined, 'vfio-pci'])
    await giveBackPci(host, device, sysfs.path)
    expect(await sysfs.state(NIC)).toEqual(['ixgbe', ''])
  })

  test('its driver refuses it: no override stays, and it can be tried again', async () => {
    const sysfs = await sysfsWith({ driver: 'vfio-pci', override: 'vfio-pci' })
    const bind = `${sysfs.driverPath('ixgbe')}/bind`
    await rm(bind)
    await mkdir(bind)
    await refusal(giveBackPci(host, device, sysfs.path))
    expect(await sysfs.state(NIC)).toEqual([undefined, ''])
    await refusal(giveBackPci(host, device, sysfs.path))
  })
})

describe('a device is refused', () => {
  test('that is not there', async () => {
    const sysfs = await sysfsWith({})
    const error = await refusal(inspectPci(host, '0000:99:00.0', sysfs.path))
    expect(error.message).toContain('there is no PCI device 0000:99:00.0')
    expect(error.hint).toContain('lspci')
  })

  test('without an IOMMU', async () => {
    const sysfs = await sysfsWith({ driver: 'ixgbe', group: undefined })
    const error = await refusal(inspectPci(host, NIC, sysfs.path))
    expect(error.message).toContain('in no IOMMU group')
    expect(error.hint).toContain('intel_iommu=on')
  })

  test('while the host uses others of its IOMMU group, unless they go along', async () => {
    const [used, idle, none] = ['0000:03:00.1', '0000:02:00.0', '0000:03:00.2']
    const sysfs = await sysfsWith(
      { driver: 'ixgbe' },
      {
        [used]: { driver: 'igb', group: 7 },
        [idle]: { driver: 'pci-stub', group: 7 },
        [none]: { group: 7 },
        '0000:04:00.0': { driver: 'igb', group: 8 },
      },
    )
    const error = await refusal(inspectPci(host, NIC, sysfs.path))
    expect(error.message).toContain(`the host uses ${used} (igb) of its IOMMU group`)
    expect(error.hint).toContain('driver/unbind')
    expect(await inspectPci(host, NIC, sysfs.path, [used])).toMatchObject({ driver: 'ixgbe' })
  })

  test('while vfio-pci is not loaded', async () => {
    const sysfs = await sysfsWith({ driver: 'ixgbe' })
    await rm(sysfs.driverPath('vfio-pci'), { recursive: true })
    const error = await refusal(inspectPci(host, NIC, sysfs.path))
    expect(error.message).toContain('vfio-pci is not loaded')
    expect(error.hint).toBe('modprobe vfio-pci')
  })

  test.each([
    ['net', 'upper_br9', 'is part of br9'],
    ['block', 'holders/dm-9', 'is part of dm-9'],
  ])('whose part in %s has %s', async (kind, sign, words) => {
    const idle = '0000:03:00.1'
    const sysfs = await sysfsWith({ driver: 'ixgbe' }, { [idle]: { driver: 'ixgbe' } })
    for (const [name, address, file] of [
      ['dut-a', NIC, sign],
      ['dut-b', idle, 'holders/'],
    ] as const) {
      const real = `${realpathSync(sysfs.devicePath(address))}/${kind}/${name}`
      await mkdir(`${real}/${file}`, { recursive: true })
      await mkdir(`${sysfs.path}/class/${kind}`, { recursive: true })
      await symlink(real, `${sysfs.path}/class/${kind}/${name}`)
    }
    // Of one that goes meanwhile, with its bus.
    await symlink('/sys/gone/with/its/bus', `${sysfs.path}/class/${kind}/dut-0`)
    const error = await refusal(inspectPci(host, NIC, sysfs.path))
    expect(error.message).toContain(`the host itself uses ${NIC}: `)
    expect(error.message).toContain(`dut-a ${words}`)
    const other = await refusal(inspectPci(host, idle, sysfs.path))
    expect(other.message).toContain('in no IOMMU group')
  })
})

/** The PCI device of this machine that a part of /sys belongs to. */
function pciOf(path: string): string | undefined {
  return realpathSync(path)
    .split('/')
    .findLast((part) => /^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/.test(part))
}

function routed(): string | undefined {
  const routes = existsSync('/proc/net/route') ? readFileSync('/proc/net/route', 'utf8') : ''
  const [, net] = /^(\S+)\t0{8}\t/m.exec(routes) ?? []
  return net === undefined ? undefined : pciOf(`/sys/class/net/${net}`)
}

function mounted(): string | undefined {
  const [, disk] = /^\/dev\/(\S+) \/ /m.exec(readFileSync('/proc/mounts', 'utf8')) ?? []
  return disk && existsSync(`/sys/class/block/${disk}`)
    ? pciOf(`/sys/class/block/${disk}`)
    : undefined
}

const addresses = existsSync('/sys/bus/pci/devices') ? readdirSync('/sys/bus/pci/devices') : []
const hasIommu =
  existsSync('/sys/kernel/iommu_groups') && readdirSync('/sys/kernel/iommu_groups').length > 0

describe('of this machine', () => {
  test.runIf(routed())('the NIC that it is reached by is refused', async () => {
    const error = await refusal(inspectPci(host, routed()!))
    expect(error.message).toMatch(/the host itself uses .*: \S+ is (up with|part of) /)
  })

  test.runIf(mounted())('the disk that it lives on is refused', async () => {
    const error = await refusal(inspectPci(host, mounted()!))
    expect(error.message).toMatch(/the host itself uses .*: its disk(s hold .*\/| \S+ is part of)/)
  })

  test.runIf(addresses.length > 0 && !hasIommu)(
    'none is given where there is no IOMMU',
    async () => {
      const all = await Promise.all(addresses.map((address) => refusal(inspectPci(host, address))))
      for (const { message } of all)
        expect(message).toMatch(/in no IOMMU group|the host itself uses/)
      expect(all.some(({ message }) => message.includes('in no IOMMU group'))).toBe(true)
    },
  )
})
