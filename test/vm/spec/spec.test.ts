import { describe, expect, test } from 'vitest'
import { UsageError } from '../../../src/errors.ts'
import { link, vhostUser } from '../../../src/qemu/devices.ts'
import { resolveSpec, type VmSpec } from '../../../src/vm/spec/spec.ts'

describe('a spec', () => {
  test('that is empty is all defaults, and named by its number', () => {
    expect(resolveSpec({}, 3)).toEqual({
      name: 'vm3',
      guest: 'default',
      agent: false,
      memory: { size: '512M', hugepages: false, shared: false },
      cpus: { count: 1 },
      accel: 'auto',
      machine: 'q35',
      qemu: 'qemu-system-x86_64',
      devices: [],
      disks: [],
      boot: 'auto',
      extraArgs: [],
    })
  })

  test('keeps what it says', () => {
    const spec: VmSpec = {
      ...{ name: 'switch-1.a_b', accel: 'kvm', machine: 'pc', qemu: '/opt/qemu' },
      memory: { size: '2G', hugepages: '1G', node: 1, shared: true },
      cpus: { count: 4, model: 'max', sockets: 1, cores: 2, threads: 2 },
      devices: [link('lan')],
      disks: [{ file: '/d', format: 'raw', bus: 'scsi', readonly: true, snapshot: false }],
      boot: 'template',
      extraArgs: ['-device', 'edu'],
    }
    expect(resolveSpec(spec, 0)).toEqual({ guest: 'default', agent: false, ...spec })
  })

  test('of a guest of one’s own may have the QEMU guest agent', () => {
    const guest = { disk: '/d' }
    expect(resolveSpec({ guest, agent: true }, 0).agent).toBe(true)
    expect(resolveSpec({ guest }, 0).agent).toBe(false)
    expect(resolveSpec({ agent: false }, 0).agent).toBe(false)
  })

  test.each([
    ['1G', [], false],
    ['1G', [link('lan')], false],
    ['1G', [vhostUser({ path: '/v' })], true],
    [{ size: '1G' }, [vhostUser({ path: '/v' })], true],
    [{ size: '1G', shared: true }, [], true],
  ])('of memory %j and devices %j shares its memory: %s', (memory, devices, shared) => {
    expect(resolveSpec({ memory, devices }, 0).memory.shared).toBe(shared)
  })

  test('whose memory is to be private cannot have a vhost-user device', () => {
    const spec = { memory: { size: '1G', shared: false }, devices: [vhostUser({ path: '/v' })] }
    expect(() => resolveSpec(spec, 0)).toThrow(/vm0: .*vhost-user.*shared/)
  })
})

describe('what cannot be is refused with what to write:', () => {
  test.each<[object | null | undefined, string, string]>([
    [{ mem: '1G' }, 'vm0: unknown option "mem"', 'did you mean "memory"?'],
    [{ Memory: '1G' }, 'unknown option "Memory"', 'did you mean "memory"?'],
    [{ cpu: 2 }, 'unknown option "cpu"', 'did you mean "cpus"?'],
    [{ vcpus: 2 }, 'unknown option "vcpus"', 'did you mean "cpus"?'],
    [{ device: [] }, 'unknown option "device"', 'did you mean "devices"?'],
    [{ extra_args: [] }, 'unknown option "extra_args"', 'did you mean "extraArgs"?'],
    [{ colour: 1 }, 'unknown option "colour"', 'known are: name, guest, login, memory'],
    [{ disks: {} }, 'vm0: disks is not a list', `disks: [{ file: '/images/data.qcow2' }]`],
    [{ disks: [{ file: 'a' }] }, 'disks[0]: file: "a" is not an absolute path', ''],
    [{ disks: [{ file: '/a', bus: 'ide' }] }, 'bus: "ide" is unknown', 'virtio, scsi, nvme'],
    [{ boot: 'warm' }, 'boot: "warm" is unknown', "'auto', 'cold' or 'template'"],
    [{ login: {} }, 'the default guest has no login', ''],
    [{ agent: true }, 'agent: the default guest has no QEMU guest agent', 'vm.exec'],
    [{ agent: true }, 'the default guest', 'guest: { disk }'],
    [{ agent: 'yes' }, 'vm0: agent: "yes" is neither true nor false', ''],
    [{ agents: true }, 'unknown option "agents"', 'did you mean "agent"?'],
    [null, 'vm0: the options are not an object', ''],
    [undefined, 'vm0: the options are not an object', ''],
    [[], 'vm0: the options are not an object', ''],
    [{ name: 'a/b' }, `"a/b" cannot be a VM's name`, 'up to 32 letters'],
    [{ name: '' }, `"" cannot be a VM's name`, ''],
    [{ name: 'x'.repeat(33) }, `cannot be a VM's name`, 'up to 32'],
    [{ name: '..' }, `".." cannot be a VM's name`, ''],
    [{ guest: 'debian' }, `guest: "debian" is no guest`, ''],
    [{ accel: 'hvf' }, 'accel: "hvf" is unknown', `'auto', 'kvm' or 'tcg'`],
    [{ memory: '512' }, 'vm0: memory: "512" is not a size', `'512M' or '2G'`],
    [{ memory: 512 }, 'vm0: memory: the options are not an object', ''],
    [{ memory: '64M' }, 'memory: 64M is too little for the guest', `at least '128M'`],
    [{ memory: { size: '1G', huge: true } }, 'memory: unknown option "huge"', '"hugepages"?'],
    [{ memory: { hugepages: true } }, 'vm0: memory: undefined is not a size', ''],
    [
      { memory: { size: '1G', hugepages: '4M' } },
      'memory.hugepages: "4M" is unknown',
      `'2M' or '1G'`,
    ],
    [{ memory: { size: '1G', node: -1 } }, 'memory.node: -1 is not a whole number', '0 to 1023'],
    [{ cpus: 0 }, 'cpus: 0 is not a whole number', '1 to 255'],
    [{ cpus: '2' }, 'cpus: the options are not an object', ''],
    [{ cpus: 2.5 }, 'cpus: 2.5 is not a whole number', ''],
    [{ cpus: { count: 256 } }, 'cpus: 256 is not a whole number', ''],
    [{ cpus: {} }, 'cpus: undefined is not a whole number', ''],
    [{ cpus: { count: 2, core: 2 } }, 'cpus: unknown option "core"', 'did you mean "cores"?'],
    [{ devices: link('lan') }, 'devices is not a list of devices', `link('lan')`],
    [{ devices: ['virtio-net-pci'] }, 'devices is not a list of devices', 'raw(…)'],
    [{ devices: [null] }, 'devices is not a list of devices', ''],
    [{ extraArgs: '-s' }, 'extraArgs is not a list of strings', `['-device', 'edu']`],
    [{ extraArgs: ['-m', 5] }, 'extraArgs is not a list of strings', ''],
  ])('%j', (spec, message, hint) => {
    const resolve = () => resolveSpec(spec as VmSpec, 0)
    expect(resolve).toThrow(UsageError)
    expect(resolve).toThrow(message)
    expect(resolve).toThrow(hint)
  })

  test('under the name that was given', () => {
    expect(() => resolveSpec({ name: 'left', cpus: 0 }, 0)).toThrow('left: cpus: 0')
  })
})
