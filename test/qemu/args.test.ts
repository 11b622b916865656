import { describe, expect, test } from 'vitest'
import { needsSharedMemory, type PlacedDevice, qemuArgs } from '../../src/qemu/args.ts'
import { link, raw, tap, userNet, vfio, vhostUser } from '../../src/qemu/devices.ts'
import { SLOTS } from '../../src/qemu/machine-kind.ts'
import { optionValue } from '../../src/qemu/option-value.ts'
import { segmentNetdevOption } from '../../src/qemu/segment.ts'
import { shapeWith, valuesOf } from '../support/shape.ts'

const mac = '52:54:00:01:02:03'
const nic = (options: Parameters<typeof vhostUser>[0]): PlacedDevice => ({
  device: vhostUser(options),
  mac,
})
const nicOf = (placed: PlacedDevice, accel: 'kvm' | 'tcg' = 'kvm') =>
  valuesOf('-device', { accel, devices: [placed] }).find((v) => v.startsWith('virtio-net-pci'))

test.each([
  ['a,b', 'a,,b'],
  [',,', ',,,,'],
  ['plain', 'plain'],
])('in an option %j is %j', (value, wanted) => {
  expect(optionValue(value)).toBe(wanted)
})

describe('a machine', () => {
  test('shows nothing, does not come back by itself, and takes no configuration of the user', () => {
    const args = qemuArgs(shapeWith()).join(' ')
    for (const part of ['-nodefaults', '-no-user-config', '-display none', '-no-reboot']) {
      expect(args).toContain(part)
    }
    expect(valuesOf('-machine')).toEqual(['q35,memory-backend=ram'])
    expect(valuesOf('-name', { name: 'a,b' })).toEqual(['a,,b'])
  })

  test('has free ports for devices, if devices can come to such a machine while it runs', () => {
    const ports = valuesOf('-device').filter((device) => device.startsWith('pcie-root-port'))
    expect(ports).toHaveLength(SLOTS)
    expect(ports[0]).toBe('pcie-root-port,id=slot0,chassis=1,slot=1,addr=1.0,multifunction=on')
    expect(ports[7]).toBe('pcie-root-port,id=slot7,chassis=8,slot=8,addr=1.7')
    expect(valuesOf('-device', { machine: 'pc' }).join()).not.toContain('root-port')
  })

  test('that is to be saved has its NICs without what they are connected to', () => {
    const devices = [{ device: link('lan'), mac: '52:54:00:00:00:00', segment: '/s' }]
    const args = qemuArgs(shapeWith({ devices, unconnected: true })).join(' ')
    expect(args).toContain('-device virtio-net-pci,id=nic0,bus=slot0,mac=52:54:00:00:00:00')
    expect(args).not.toMatch(/netdev/)
  })

  test.each([
    ['q35', 'pvpanic'],
    ['pc-i440fx-7.2', 'pvpanic'],
    ['virt', 'pvpanic-pci'],
    ['microvm', undefined],
  ])('of type %s is told of a panic by %s, once', (machine, device) => {
    const told = (extraArgs: string[] = []) =>
      qemuArgs(shapeWith({ machine, extraArgs })).filter((arg) => arg.startsWith('pvpanic'))
    expect(told()).toEqual(device === undefined ? [] : [device])
    expect(told(['-device', 'pvpanic,ioport=1'])).toEqual(['pvpanic,ioport=1'])
  })

  test('that waits for a saved one begins where that ended', () => {
    expect(valuesOf('-incoming', { incoming: true })).toEqual(['defer'])
    expect(valuesOf('-incoming')).toEqual([])
  })

  test.each([
    [true, 'on'],
    [false, 'off'],
  ])('whose memory is a file, shared %s, has it so', (share, word) => {
    const memory = { ...shapeWith().memory, file: { path: '/m,1', share } }
    const [backend] = valuesOf('-object', { memory })
    expect(backend).toMatch(/^memory-backend-file,id=ram,size=\d+,mem-path=\/m,,1,share=/)
    expect(backend).toMatch(new RegExp(`share=${word}$`))
  })

  test('is typed into over its standard input, and reports over our sockets', () => {
    const sockets = { qmp: '/s,1/qmp', kernelLog: '/s/k', agent: '/s/a' }
    expect(valuesOf('-chardev', { sockets })).toEqual([
      'socket,id=qmp,path=/s,,1/qmp',
      'socket,id=klog,path=/s/k',
      'stdio,id=console,signal=off',
      'socket,id=agent,path=/s/a',
    ])
    expect(valuesOf('-mon')).toEqual(['chardev=qmp,mode=control'])
    expect(valuesOf('-serial')).toEqual(['chardev:klog'])
  })

  test('never writes to its root', () => {
    const boot = { kernel: '/k', initrd: '/i', append: 'a=b,c', root: '/r,1' }
    expect(valuesOf('-drive', { boot })).toEqual([
      'if=none,id=root,format=raw,readonly=on,file=/r,,1',
    ])
    expect(valuesOf('-append', { boot })).toEqual(['a=b,c'])
  })

  test.each([
    ['tcg', { count: 1 }, 'tcg,thread=multi', 'max', 'cpus=1'],
    ['kvm', { count: 4 }, 'kvm', 'host', 'cpus=4'],
    ['kvm', { count: 2, model: 'Haswell,+x' }, 'kvm', 'Haswell,+x', 'cpus=2'],
    [
      'tcg',
      { count: 8, sockets: 2, cores: 2, threads: 2 },
      ...['tcg,thread=multi', 'max', 'cpus=8,sockets=2,cores=2,threads=2'],
    ],
    ['tcg', { count: 2, cores: 2 }, 'tcg,thread=multi', 'max', 'cpus=2,cores=2'],
  ] as const)('with %s and %j', (accel, cpu, ...wanted) => {
    const shape = { accel, cpu }
    expect(['-accel', '-cpu', '-smp'].flatMap((option) => valuesOf(option, shape))).toEqual(wanted)
  })

  test('has what else was asked for at the end, as it is', () => {
    const extraArgs = ['-device', 'edu,x=1']
    expect(qemuArgs(shapeWith({ extraArgs })).slice(-2)).toEqual(extraArgs)
  })
})

describe('memory', () => {
  const shared = false
  test.each([
    [
      { size: '512M', shared, hugepages: false },
      '512M',
      'memory-backend-ram,id=ram,size=536870912',
    ],
    [
      { size: '1.5G', shared, hugepages: false },
      '1536M',
      'memory-backend-ram,id=ram,size=1610612736',
    ],
    [
      { size: '1G', shared: true, hugepages: false },
      ...['1024M', 'memory-backend-memfd,id=ram,size=1073741824,share=on'],
    ],
    [
      { size: '1G', shared, hugepages: true },
      '1024M',
      'memory-backend-memfd,id=ram,size=1073741824,share=on,hugetlb=on,prealloc=on',
    ],
    [
      { size: '1G', shared, hugepages: '1G', node: 1 },
      '1024M',
      'memory-backend-memfd,id=ram,size=1073741824,share=on,hugetlb=on,prealloc=on,hugetlbsize=1G,host-nodes=1,policy=bind',
    ],
    [
      { size: '256M', shared, hugepages: false, node: 0 },
      ...['256M', 'memory-backend-ram,id=ram,size=268435456,host-nodes=0,policy=bind'],
    ],
  ] as const)('%j', (memory, size, backend) => {
    expect(valuesOf('-m', { memory, accel: 'kvm' })).toEqual([size])
    expect(valuesOf('-object', { memory, accel: 'kvm' })).toEqual([backend])
  })

  // Whole words of page marks are what QEMU before 9.0 loses writes of under TCG.
  test.each([
    ['256M', false, 'tcg', '262136K', 2 ** 28 - 8192],
    ['256M', false, 'kvm', '256M', 2 ** 28],
    ['262136K', false, 'tcg', '262136K', 2 ** 28 - 8192],
    ['256M', true, 'tcg', '256M', 2 ** 28],
  ] as const)('of %s, in huge pages: %s, under %s', (size, hugepages, accel, m, bytes) => {
    const memory = { size, shared, hugepages }
    expect(valuesOf('-m', { memory, accel })).toEqual([m])
    expect(valuesOf('-object', { memory, accel })[0]).toContain(`,size=${bytes}`)
  })

  test('has to be shared for a vhost-user device only', () => {
    expect(needsSharedMemory([])).toBe(false)
    expect(needsSharedMemory([link('lan'), userNet(), tap(), vfio('03:00.0'), raw('-s')])).toBe(
      false,
    )
    expect(needsSharedMemory([link('lan'), vhostUser({ path: '/v' })])).toBe(true)
  })
})

describe('devices', () => {
  test('are numbered by their place, and raw ones are left alone', () => {
    const devices = [
      { device: link('lan'), mac, segment: '/seg,1' },
      { device: raw('-device', 'edu'), mac: '' },
      {
        device: userNet({ forward: [22, { port: 53, protocol: 'udp' }] }),
        mac,
        hostPorts: [4000, 4001],
      },
      nic({ path: '/v,1' }),
    ]
    expect(valuesOf('-netdev', { devices })).toEqual([
      segmentNetdevOption('net0', '/seg,1'),
      'user,id=net2,hostfwd=tcp:127.0.0.1:4000-:22,hostfwd=udp:127.0.0.1:4001-:53',
      'vhost-user,id=net3,chardev=vhost3,queues=1',
    ])
    expect(valuesOf('-chardev', { devices }).at(-1)).toBe('socket,id=vhost3,path=/v,,1')
    const added = valuesOf('-device', { devices, accel: 'kvm' }).slice(-4)
    expect(added).toEqual([
      `virtio-net-pci,netdev=net0,id=nic0,bus=slot0,mac=${mac}`,
      'edu',
      `virtio-net-pci,netdev=net2,id=nic2,bus=slot2,mac=${mac}`,
      `virtio-net-pci,netdev=net3,id=nic3,bus=slot3,mac=${mac}`,
    ])
  })

  test('at whose socket QEMU listens do not keep it waiting', () => {
    const devices = [nic({ path: '/v', server: true, queues: 4 })]
    const chardev = valuesOf('-chardev', { devices }).at(-1)
    expect(chardev).toBe('socket,id=vhost0,path=/v,server=on,wait=off')
    expect(valuesOf('-netdev', { devices })).toEqual(['vhost-user,id=net0,chardev=vhost0,queues=4'])
  })

  test('that are taps run no script, and those of the host are not NICs of ours', () => {
    const devices = [
      { device: tap({ bridge: 'br0', properties: { mq: false } }), mac, tap: 'dut0' },
      { device: vfio('03:00.0', { 'x-no-mmap': true, romfile: 'a,b' }), mac: '' },
    ]
    expect(valuesOf('-netdev', { devices })).toEqual([
      'tap,id=net0,ifname=dut0,script=no,downscript=no',
    ])
    expect(valuesOf('-device', { devices }).slice(-2)).toEqual([
      `virtio-net-pci,netdev=net0,id=nic0,bus=slot0,mac=${mac},mq=off`,
      'vfio-pci,host=0000:03:00.0,id=nic1,bus=slot1,x-no-mmap=on,romfile=a,,b',
    ])
  })

  test.each([
    ['kvm', 1, ''],
    ['kvm', 4, ',mq=on,vectors=10'],
    ['tcg', 1, ',vectors=0'],
    ['tcg', 4, ',mq=on,vectors=0'],
  ] as const)('of vhost-user under %s with %d queues have %j', (accel, queues, wanted) => {
    expect(nicOf(nic({ path: '/v', queues }), accel)).toBe(
      `virtio-net-pci,netdev=net0,id=nic0,bus=slot0,mac=${mac}${wanted}`,
    )
  })

  test.each(['kvm', 'tcg'] as const)(
    'other than vhost-user keep their vectors under %s',
    (accel) => {
      for (const device of [link('lan'), userNet(), tap()]) {
        expect(nicOf({ device, mac, segment: '/s' }, accel)).not.toContain('vectors')
      }
    },
  )

  test('have the properties that were asked for, which win', () => {
    const properties = { mrg_rxbuf: false, packed: true, vectors: 3, romfile: 'a,b' }
    expect(nicOf(nic({ path: '/v', queues: 2, properties }), 'tcg')).toBe(
      `virtio-net-pci,netdev=net0,id=nic0,bus=slot0,mac=${mac},mq=on,vectors=3,mrg_rxbuf=off,packed=on,romfile=a,,b`,
    )
  })
})
