import { describe, expect, test } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import { type PlacedDevice, qemuArgs } from '../../src/qemu/args.ts'
import { tap } from '../../src/qemu/devices.ts'
import type { Boot } from '../../src/qemu/guest-args.ts'
import type { VirtParams } from '../../src/virt/values.ts'
import { convertVirtParams } from '../../src/virt/virt-params.ts'
import { resolveSpec, type VmSpec } from '../../src/vm/spec/spec.ts'

/** The QEMU command line that a VM of these parameters gets. */
function argsOf(params: VirtParams): string {
  const spec = resolveSpec(convertVirtParams(params).spec, 0)
  const { guest } = spec
  const builtIn = { kernel: '/g/kernel', initrd: '/g/initrd', append: '', root: '/g/root' }
  const boot: Boot = guest === 'default' ? builtIn : { ...guest, agent: '/g/agent' }
  const devices = spec.devices.map((device, i): PlacedDevice => {
    const mac = 'mac' in device && device.mac ? device.mac : `52:54:00:00:00:0${i}`
    return { device, mac, tap: 'dut0', hostPorts: [20_000 + i] }
  })
  const accel = spec.accel === 'tcg' ? 'tcg' : 'kvm'
  const sockets = {
    ...{ qmp: '/s/qmp', kernelLog: '/s/klog', agent: '/s/agent' },
    ...(spec.agent && { guestAgent: '/s/qga' }),
  }
  const args = qemuArgs({ ...spec, accel, cpu: spec.cpus, boot, devices, sockets })
  return [spec.qemu, ...args].join(' ')
}

const DISK = { disk: [{ file: '/img/vm0.qcow2' }] }

describe('each option makes its arguments', () => {
  test.each<[option: string, VirtParams, ...args: string[]]>([
    ['name', { name: [{ name: 'vm7' }] }, '-name vm7 '],
    ['qemu', { qemu: [{ path: '/opt/qemu' }] }, '/opt/qemu -name'],
    ['qemu, the last', { qemu: [{ path: '/a' }, { path: '/b' }] }, '/b -name'],
    ['machine', { machine: [{ machine: 'pc' }] }, '-machine pc,memory-backend=ram'],
    [
      ...([
        'machine opt_gic_version',
        { machine: [{ machine: 'virt', opt_gic_version: '3' }] },
      ] as const),
      '-machine virt,gic-version=3,memory-backend=ram',
    ],
    ['enable_kvm yes', { enable_kvm: [{ enable: 'yes' }] }, '-accel kvm'],
    ['enable_kvm no', { enable_kvm: [{ enable: 'no' }] }, '-accel tcg,thread=multi'],
    ['cpu model', { cpu: [{ model: 'Haswell', number: '2' }] }, '-cpu Haswell -smp cpus=2'],
    ['cpu model=host', { cpu: [{ model: 'host', number: '1' }] }, '-cpu host -smp cpus=1'],
    ['cpu number, by default', { cpu: [{ model: 'max' }] }, '-smp cpus=4'],
    ['mem size', { mem: [{ size: '1024', hugepage: 'no' }] }, '-m 1024M', 'memory-backend-ram'],
    [
      ...(['mem hugepage', { mem: [{ size: '1024', hugepage: 'yes' }] }] as const),
      'memory-backend-memfd,id=ram,size=1073741824,share=on,hugetlb=on,prealloc=on',
    ],
    ['mem, by default plain', { mem: [{}] }, '-m 2048M', 'memory-backend-ram'],
    ['disk file', DISK, 'if=none,id=root,file=/img/vm0.qcow2,snapshot=on', 'drive=root'],
    ['disk opt_format', { disk: [{ file: '/a', opt_format: 'raw' }] }, 'file=/a,format=raw'],
    [
      ...(['disks', { disk: [{ file: '/a' }, { file: '/b', opt_if: 'scsi' }] }] as const),
      ...['file=/a,', 'if=none,id=disk0,file=/b', 'scsi-hd,bus=scsi0.0,drive=disk0'],
    ],
    ['disk opt_index', { disk: [{ file: '/a', opt_index: '0' }] }, 'file=/a'],
    [
      ...([
        'net, the NIC last',
        { net: [{ type: 'user' }, { type: 'nic', opt_macaddr: '52:54:00:00:00:09' }] },
      ] as const),
      'mac=52:54:00:00:00:09',
    ],
    ['disk opt_media', { disk: [{ file: '/a', opt_media: 'disk' }] }, 'file=/a'],
    ['pflash', { pflash: [{ file: '/fw' }, { file: '/vars' }] }, '-pflash /fw -pflash /vars'],
    [
      ...([
        'kernel',
        {
          kernel: [{ kernel_img: '/k', console: 'ttyS0', baudrate: '115200', root: '/dev/vda rw' }],
        },
      ] as const),
      '-kernel /k -append console=ttyS0,115200 root=/dev/vda rw',
    ],
    [
      ...(['net user', { net: [{ type: 'nic' }, { type: 'user' }] }] as const),
      ...['-netdev user,id=net0,hostfwd=tcp:127.0.0.1:20000-:22', 'virtio-net-pci,netdev=net0'],
    ],
    [
      ...([
        'net opt_hostfwd',
        { net: [{ type: 'user', opt_hostfwd: 'udp:10.0.0.5:6000-:53' }] },
      ] as const),
      'hostfwd=udp:127.0.0.1:20000-:53',
    ],
    [
      ...([
        'net opt_macaddr, opt_addr, opt_vectors',
        {
          net: [
            { type: 'nic', opt_macaddr: '52:54:00:aa:00:01', opt_addr: '1f', opt_vectors: '3' },
            { type: 'tap', opt_br: 'br7' },
          ],
        },
      ] as const),
      ...['-netdev tap,id=net0', 'mac=52:54:00:aa:00:01', 'addr=1f', 'vectors=3'],
    ],
    [
      ...(['device vhost-user', { device: [{ driver: 'vhost-user', opt_path: '/v0' }] }] as const),
      ...['socket,id=vhost0,path=/v0 ', '-netdev vhost-user,id=net0,chardev=vhost0,queues=1'],
    ],
    [
      ...([
        'device vhost-user, all of it',
        {
          device: {
            ...{ driver: 'vhost-user', opt_path: '/v0', opt_mac: '52:54:00:00:00:01' },
            ...{ opt_server: 'server', opt_queue: '2', opt_legacy: 'on' },
            opt_settings: 'mrg_rxbuf=on,packed=off,host_mtu=9000',
          },
        },
      ] as const),
      ...['path=/v0,server=on,wait=off', 'queues=2', 'mac=52:54:00:00:00:01', 'mq=on'],
      ...['disable-modern=on,disable-legacy=off,mrg_rxbuf=on,packed=off,host_mtu=9000'],
    ],
    [
      ...([
        'device vhost-user, its mode behind its path',
        { device: [{ driver: 'vhost-user', opt_path: '/v0,server' }] },
      ] as const),
      'path=/v0,server=on,wait=off',
    ],
    [
      ...([
        'device virtio-net-pci',
        {
          device: [
            {
              ...{
                driver: 'virtio-net-pci',
                opt_netdev: 'n1',
                opt_id: 'i1',
                opt_bus: 'b',
                opt_addr: '5',
              },
              ...{ opt_mac: '52:54:00:00:00:02', opt_legacy: 'off', opt_settings: 'csum=on' },
            },
          ],
        },
      ] as const),
      '-device virtio-net-pci,netdev=n1,id=i1,mac=52:54:00:00:00:02,bus=b,addr=5,disable-modern=off,csum=on',
    ],
    [
      ...([
        'device vfio-pci',
        { device: [{ driver: 'vfio-pci', opt_host: '03:00.0', opt_addr: '7' }] },
      ] as const),
      ...['-device vfio-pci,host=0000:03:00.0', 'addr=7'],
    ],
    ['crypto', { crypto: [{ enable: 'yes', opt_num: '2' }] }, 'id=crypto0', 'id=crypto1'],
    [
      'monitor',
      { monitor: [{ path: '/m,1' }] },
      'path=/m,,1,server=on,wait=off -mon chardev=monitor',
    ],
    ['vnc', { vnc: [{ displayNum: '4' }] }, '-vga std -vnc 127.0.0.1:4'],
    ['vnc disable', { vnc: [{ disable: 'True', displayNum: '4' }] }, '-display none'],
    [
      'usercmd',
      { usercmd: [{ cmd: `-device edu -append 'a "b" c'` }] },
      '-device edu -append a "b" c',
    ],
  ])('%s', (_, params, ...args) => {
    const line = argsOf(params)
    for (const text of args) expect(line).toContain(text)
  })
})

describe('each option that makes none', () => {
  test.each<[string, VirtParams, Partial<VmSpec>]>([
    ['cpupin', { cpu: [{ number: 2, cpupin: '24 25' }] }, { cpus: { count: 2, pin: [24, 25] } }],
    ['cpupin, less', { cpu: [{ number: 2, cpupin: '3' }] }, { cpus: { count: 2 } }],
    ['cpupin, one twice', { cpu: [{ number: 2, cpupin: '3 3' }] }, { cpus: { count: 2 } }],
    ['cpupin, more', { cpu: [{ number: 1, cpupin: '7 8' }] }, { cpus: { count: 1, pin: [7] } }],
    ['mem without hugepage', { mem: [{ size: '512' }] }, { memory: { size: '512M' } }],
    [
      ...(['disk type', { disk: [{ file: '/a', type: 'raw' }] }] as const),
      { guest: { disk: '/a', format: 'raw' } },
    ],
    ['serial_port', { serial_port: [{ enable: 'yes' }] }, {}],
    ['cpupin, blank', { cpu: [{ number: '1', cpupin: '' }] }, { cpus: { count: 1 } }],
    [
      ...(['login', { ...DISK, login: [{ user: 'me', password: 'x' }] }] as const),
      { guest: { disk: '/img/vm0.qcow2' }, login: { user: 'me', password: 'x' } },
    ],
    [
      ...([
        'start',
        {
          ...{ ...DISK, login: [{ user: 'root', password: 'x' }] },
          start: [{ login_prompt: 'who? ', password_prompt: 'Password:' }],
        },
      ] as const),
      {
        guest: { disk: '/img/vm0.qcow2' },
        login: { user: 'root', password: 'x', loginPrompt: 'who? ' },
      },
    ],
    ['None', { device: null, net: undefined, cpu: [] }, {}],
    ['enable no', { crypto: [{ enable: 'no' }], migration: [{ enable: 'no' }] }, {}],
    ['virt_type', { virt_type: [{ virt_type: 'KVM' }] }, {}],
    ['vnc disable', { vnc: [{ disable: 'True', displayNum: '4' }] }, {}],
    [
      ...(['tap opt_br', { net: [{ type: 'tap', opt_br: 'br7' }, { type: 'tap' }] }] as const),
      { devices: [tap({ bridge: 'br7' }), tap({ bridge: 'br0' })] },
    ],
  ])('%s', (_, params, spec) => {
    expect(convertVirtParams(params).spec).toEqual(spec)
  })

  test.each<[VirtParams, true | undefined]>([
    [{ ...DISK, qga: [{ enable: 'yes' }] }, true],
    [{ control: [{ type: 'qga' }], ...DISK }, true],
    [{ ...DISK, control: [{ type: 'telnet' }] }, undefined],
    [{ ...DISK, qga: [{ enable: 'no' }] }, undefined],
    [{ ...DISK, qga: [{}] }, undefined],
    [{ qga: [{ enable: 'yes' }], control: [{ type: 'qga' }] }, undefined],
  ])('the guest agent of a disk is asked for by its keys: %j', (params, agent) => {
    expect(convertVirtParams(params).spec.agent).toBe(agent)
    const port = 'name=org.qemu.guest_agent.0'
    expect(argsOf(params).includes(port)).toBe(agent === true)
  })

  test('wait_seconds is the start’s', () => {
    const { startTimeoutMs } = convertVirtParams({ start: [{ wait_seconds: '240' }] })
    expect(startTimeoutMs).toBe(240_000)
  })
})

test.each<[VirtParams, string]>([
  [{ daemon: [{ enable: 'yes' }] }, 'nothing goes on by itself'],
  [{ def_driver: [{ driver_name: 'igb_uio' }] }, "bindDriver(vm, pci, 'igb_uio')"],
  [{ control: [{ type: 'qga' }] }, 'control: type=qga: vm.cmd and vm.exec do what it was for'],
  [{ control: [{ type: 'telnet' }] }, 'type=telnet: vm.cmd and vm.exec do what it was for'],
  [{ ...DISK, control: [{ type: 'qga' }] }, 'control: type=qga: vm.agent talks to the agent'],
  [{ ...DISK, qga: [{ enable: 'yes' }] }, 'qga: vm.agent talks to the agent'],
  [{ monitor: [{}] }, 'vm.qmp'],
  [{ vnc: [{ disable: 'False' }] }, 'displayNum'],
  [{ net: [{ type: 'nic' }, { type: 'user' }] }, 'virtio one in place of an e1000'],
  [{ net: [{ type: 'nic', opt_model: 'rtl8139' }, { type: 'tap' }] }, 'in place of an rtl8139'],
  [{ net: [{ type: 'user', opt_hostfwd: 'tcp::6000-:80' }] }, 'vm.forward(80) says'],
  [{ cpu: [{ model: 'host' }] }, 'model=host is what a VM has by default'],
  [{ start: [{ login_timeout: '60' }] }, 'login_timeout is part of wait_seconds'],
  [{ login: [{ user: 'root', password: 'x' }] }, 'the default guest asks for none'],
  [{ crypto: [{}] }, 'virtioCrypto({ path })'],
  [{ net: [{ type: 'user', opt_vlan: '0' }] }, 'opt_vlan is passed over'],
  [{ qga: [{ enable: 'yes' }] }, 'vm.exec'],
  [{ monitor: [{ port: '4444' }] }, 'port is passed over'],
  [{ cpu: [{ number: 4, cpupin: '24 25' }] }, 'cpupin is left out: DTS had 4 virtual CPUs share 2'],
  [{ cpu: [{ number: 2, cpupin: '4 5 6 7' }] }, 'cpupin: 6 7 is passed over'],
  [{ qemu: [{ path: '/a' }, { path: '/b' }, { path: '/c' }] }, 'path=/a is passed over: the last'],
  [{ qemu: [{ path: '/a' }, { path: '/b' }, { path: '/c' }] }, 'path=/b is passed over: the last'],
  [
    { def_driver: [{ driver_name: 'vfio-pci' }, { driver_mode: 'noiommu' }] },
    'driver_mode=noiommu',
  ],
  [{ disk: [{ file: '/a', type: 'raw' }] }, 'type=raw is read as opt_format=raw'],
  [{ serial_port: [{}] }, 'serial_port: vm.console'],
  [{ vnc: [{ displayNum: '1' }] }, 'vnc: QEMU is given its arguments as they are'],
  [{ usercmd: [{ cmd: '-device edu' }] }, 'usercmd: QEMU is given its arguments as they are'],
  [{ pflash: [{ file: '/fw' }] }, 'pflash: QEMU is given its arguments as they are'],
  [{ monitor: [{ path: '/m' }] }, 'monitor: QEMU is given its arguments as they are'],
])('what is done in another way is said: %j', (params, note) => {
  expect(convertVirtParams(params).notes.join('\n')).toContain(note)
})

describe('refused, with what to use instead, is', () => {
  test.each<[VirtParams, string, string]>([
    [{ device: [{ driver: 'pci-assign', opt_host: '03:00.0' }] }, 'pci-assign is gone', 'vfio-pci'],
    [{ device: [{}] }, 'pci-assign is gone', 'vfio-pci'],
    [{ device: [{ driver: 'vhost-cuse' }] }, 'vhost-cuse is gone', 'vhost-user'],
    [{ device: [{ driver: 'e1000' }] }, 'driver: "e1000" is unknown', 'usercmd'],
    [{ device: [{ driver: 'vhost-user' }] }, 'opt_path is missing', ''],
    [{ device: [{ driver: 'vhost-user', opt_path: '/v', opt_script: '/s' }] }, 'opt_script', 'tap'],
    [{ device: [{ driver: 'vfio-pci', opt_host: '1', opt_path: '/v' }] }, 'opt_path is not', ''],
    [{ device: [{ driver: 'vhost-user', opt_path: '/v', opt_server: 'yes' }] }, 'opt_server', ''],
    [{ net: [{ type: 'bridge' }] }, 'type: "bridge"', 'type=tap,opt_br=br0'],
    [{ net: [{ type: 'tap', opt_script: '/etc/qemu-ifup' }] }, 'opt_script', 'opt_br'],
    [{ net: [{ type: 'nic' }, { type: 'nic' }, { type: 'user' }] }, 'connected to nothing', ''],
    [{ net: [{ type: 'toString' }] }, 'type: "toString"', ''],
    [{ disk: [{ file: '/a', opt_if: 'constructor' }] }, 'opt_if', 'virtio or scsi'],
    [{ disk: [{ file: '/a', opt_if: 'scsi' }] }, 'what a VM boots', 'virtio'],
    [{ net: [{ type: 'nic' }] }, 'connected to nothing', 'type=user or type=tap'],
    [{ net: [{ type: 'user', opt_hostfwd: '6000:22' }] }, 'opt_hostfwd', 'tcp:HOST:PORT'],
    [{ migration: [{ enable: 'yes', port: '8000' }] }, 'waits for a migration', 'vm.migrate()'],
    [{ control: [{ type: 'telnet', port: '7000' }] }, 'port is not honoured', 'vm.cmd'],
    [{ control: [{ type: 'ssh' }] }, 'type: "ssh"', 'qga, telnet or socket'],
    [{ pid_file: [{ name: '/tmp/.vm0.pid' }] }, 'name is not honoured', 'vm.pid'],
    [{ virt_type: [{ virt_type: 'LIBVIRT' }] }, '"LIBVIRT" is not supported', 'KVM'],
    [{ disk: [{ file: '/a', opt_if: 'ide' }] }, 'opt_if: "ide"', 'virtio or scsi'],
    [{ disk: [{ file: '/a', opt_media: 'cdrom' }] }, 'opt_media', 'usercmd'],
    [{ disk: [{ file: '/a', opt_index: '1' }] }, 'opt_index', 'in the order'],
    [{ disk: [{}] }, 'disk[0]: file is missing', ''],
    [{ cpu: [{ number: 'two' }] }, 'number: "two"', ''],
    [{ cpu: [{ cpupin: 'a b' }] }, 'cpupin', '24 25'],
    [{ mem: [{ hugepage: 'maybe' }] }, 'neither yes nor no', ''],
    [{ usercmd: [{ cmd: `-append 'open` }] }, 'a quote is not closed', ''],
    [{ memory: [{ size: '1' }] }, 'unknown option "memory"', 'known are: name, qemu'],
    [{ cpu: [{ count: 2 }] }, 'unknown option "count"', 'known are: model, number, cpupin'],
    [{ cpu: ['2'] as never }, '"2" is not a table', 'a list of objects'],
    [{ cpu: [{ numa: 'auto' }] }, 'cpu[0]: numa is not honoured', 'memory: { node }'],
    [{ cpu: [{ numa_aware: 'yes' }] }, 'numa_aware is not honoured', `pin: 'auto'`],
    [{ cpu: [{ skipcores: '0 1' }] }, 'skipcores is not honoured', `pin: 'auto'`],
    [{ device: [{ pf_idx: '0' }] }, 'pf_idx is not honoured', 'vfio(address)'],
    [{ device: [{ vf_idx: '0', guestpci: 'auto' }] }, 'guestpci is not honoured', 'opt_addr'],
    [{ dev_gen: [{ vf_num: '2' }] }, 'dev_gen[0] is not honoured', 'vfio(address)'],
  ])('%j', (params, message, hint) => {
    const call = () => convertVirtParams(params)
    expect(call).toThrow(UsageError)
    expect(call).toThrow(message)
    expect(call).toThrow(hint)
  })
})

test('all that is refused is told at once', () => {
  const params = {
    cpu: [{ number: '2', numa: 'auto', skipcores: '0 1' }],
    memory: [{ size: '1' }],
    dev_gen: [{ pf_idx: '0' }],
    device: [{ vf_idx: '0' }, { driver: 'vhost-cuse' }],
    disk: [{}],
  }
  const call = () => convertVirtParams(params, 'vm7')
  for (const what of [
    ...['vm7: cpu[0]: numa', 'vm7: cpu[0]: skipcores', 'vm7: unknown option "memory"'],
    ...[
      'vm7: dev_gen[0]',
      'vm7: device[0]: vf_idx',
      'vm7: device[1]: vhost-cuse',
      'vm7: disk[0]: file',
    ],
  ]) {
    expect(call).toThrow(what)
  }
})

test('a cpupin that is kept can be run', () => {
  for (const [number, cpupin] of [
    [4, '24 25'],
    [2, '24 25 26 27'],
    [2, '5,6'],
    [3, '1 1 2 3'],
  ] as const) {
    const { spec } = convertVirtParams({ cpu: [{ number, cpupin }] })
    const { pin } = resolveSpec(spec, 0).cpus
    if (Array.isArray(pin)) expect(new Set(pin).size).toBe(number)
  }
})

test('every key of DTS is known', () => {
  const keys = [
    ...['name', 'machine', 'enable_kvm', 'pid_file', 'daemon', 'monitor', 'qemu', 'cpu', 'mem'],
    ...['disk', 'pflash', 'kernel', 'start', 'login', 'net', 'device', 'migration', 'control'],
    ...['vnc', 'crypto', 'usercmd', 'def_driver', 'virt_type', 'serial_port', 'dev_gen'],
  ]
  for (const key of keys) expect(convertVirtParams({ [key]: null }).spec).toEqual({})
})
