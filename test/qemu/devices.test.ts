import { describe, expect, test } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import { link, raw, tap, userNet, vfio, vhostUser } from '../../src/qemu/devices.ts'

const mac = '52:54:00:00:00:0A'

describe('a device', () => {
  test.each([
    [vhostUser({ path: '/v' }), { kind: 'vhost-user', path: '/v' }],
    [
      vhostUser({ path: '/v', server: true, queues: 128, mac }),
      { kind: 'vhost-user', path: '/v', server: true, queues: 128, mac },
    ],
    [
      vhostUser({ path: `/${'x'.repeat(106)}` }),
      { kind: 'vhost-user', path: `/${'x'.repeat(106)}` },
    ],
    [link('lan'), { kind: 'link', name: 'lan' }],
    [
      link('a.b_c-1', { mac, properties: { packed: true } }),
      { kind: 'link', name: 'a.b_c-1', mac, properties: { packed: true } },
    ],
    [userNet(), { kind: 'user-net', forwards: [] }],
    [
      userNet({ forward: [22, { port: 53, protocol: 'udp' }, { port: 80 }], mac }),
      {
        kind: 'user-net',
        mac,
        forwards: [
          { port: 22, protocol: 'tcp' },
          { port: 53, protocol: 'udp' },
          { port: 80, protocol: 'tcp' },
        ],
      },
    ],
    [tap(), { kind: 'tap' }],
    [
      tap({ bridge: 'br-lan.1234567', mac, properties: { packed: true } }),
      { kind: 'tap', bridge: 'br-lan.1234567', mac, properties: { packed: true } },
    ],
    [tap({ name: 'a'.repeat(15) }), { kind: 'tap', name: 'a'.repeat(15) }],
    [vfio('0000:03:00.0'), { kind: 'vfio', address: '0000:03:00.0' }],
    [vfio('3B:1f.7'), { kind: 'vfio', address: '0000:3b:1f.7' }],
    [
      vfio('10000:e1:00.0', { 'x-no-mmap': true }),
      { kind: 'vfio', address: '10000:e1:00.0', properties: { 'x-no-mmap': true } },
    ],
    [raw('-device', 'edu'), { kind: 'raw', args: ['-device', 'edu'] }],
  ])('is %j', (device, wanted) => {
    expect(device).toEqual(wanted)
  })
})

// biome-ignore lint/suspicious/noExplicitAny: what a caller without types may give
const anything = (value: unknown) => value as any

describe('what cannot be is refused with what to write:', () => {
  test.each<[string, () => unknown, string, string]>([
    ['no path', () => vhostUser(anything({})), 'vhostUser: path is missing', "{ path: '/run/…' }"],
    ['an empty path', () => vhostUser({ path: '' }), 'vhostUser: path is missing', ''],
    [
      'a path too long',
      () => vhostUser({ path: `/${'é'.repeat(54)}` }),
      'vhostUser: path has 109 bytes',
      'at most 107',
    ],
    [
      'a misspelt key',
      () => vhostUser(anything({ path: '/v', queue: 2 })),
      'unknown option "queue"',
      'did you mean "queues"?',
    ],
    [
      'too many queues',
      () => vhostUser({ path: '/v', queues: 129 }),
      'vhostUser: queues: 129 is not a whole number from 1 to 128',
      '',
    ],
    ['no queue', () => vhostUser({ path: '/v', queues: 0 }), 'queues: 0', '1 to 128'],
    ['no options', () => vhostUser(anything(undefined)), 'the options are not an object', ''],
    [
      'a short address',
      () => link('lan', { mac: '52:54:00:00:00' }),
      'link: "52:54:00:00:00" is not an Ethernet address',
      "'52:54:00:00:00:01'",
    ],
    [
      'dashes in an address',
      () => userNet({ mac: '52-54-00-00-00-01' }),
      'userNet: "52-54',
      '52:54',
    ],
    [
      'no hexadecimal digit',
      () => link('lan', { mac: '52:54:00:00:00:0g' }),
      'is not an Ether',
      '',
    ],
    ['a name with a slash', () => link('a/b'), 'link: "a/b" is not a name', 'up to 32 letters'],
    ['no name', () => link(''), 'link: "" is not a name', ''],
    ['a long name', () => link('x'.repeat(33)), 'is not a name', 'up to 32'],
    ['a name of another kind', () => link(anything({ name: 'x' })), 'is not a name', ''],
    ['port 0', () => userNet({ forward: [0] }), 'userNet: forward: 0', 'from 1 to 65535'],
    ['port 65536', () => userNet({ forward: [{ port: 65_536 }] }), 'forward: 65536', '65535'],
    [
      'another protocol',
      () => userNet({ forward: [{ port: 1, protocol: anything('sctp') }] }),
      `"sctp" is neither 'tcp' nor 'udp'`,
      '',
    ],
    [
      'a property with a comma',
      () => link('lan', { properties: { 'a,b': 1 } }),
      'link: "a,b" cannot be a device property',
      '',
    ],
    [
      'a property that is no value',
      () => link('lan', { properties: anything({ a: { b: 1 } }) }),
      '"a" cannot be a device property',
      '',
    ],
    ['a misspelt bridge', () => tap(anything({ brige: 'b' })), '"brige"', 'mean "bridge"?'],
    ...[
      ...['', 'a'.repeat(16), 'ä'.repeat(8), '.', '..', '-br', 'a/b', 'a:b', 'a b', 'br%d', 'a,b'],
      ...['a\nb', 'all', 'default', anything(7), anything(null)],
    ].map((bridge): [string, () => unknown, string, string] => [
      `an interface called ${JSON.stringify(bridge)}`,
      () => tap({ bridge }),
      `tap: bridge: ${JSON.stringify(bridge)} cannot be a network interface's name`,
      'up to 15 letters',
    ]),
    ['a tap called ..', () => tap({ name: '..' }), 'tap: name: ".." cannot be', ''],
    ['an address of a tap', () => tap({ mac: '5' }), 'tap: "5" is not an Ethernet address', ''],
    [
      'a bridge for a tap that is there',
      () => tap({ name: 'tap0', bridge: 'br0' }),
      'tap: tap0 is there already and is not attached to br0',
      'ip link set tap0 master br0',
    ],
    ...[
      ...['', '03:00', '00:03:00.0', '0000:03:20.0', '0000:03:00.8', '0000:03:00.0 '],
      ...['0000:03:00.0,x=y', '/sys/bus', anything(undefined), anything(['03:00.0'])],
    ].map((address): [string, () => unknown, string, string] => [
      `a PCI address ${JSON.stringify(address)}`,
      () => vfio(address),
      `vfio: ${JSON.stringify(address)} is not a PCI address`,
      "'0000:03:00.0'",
    ]),
    [
      'a property of vfio with a comma',
      () => vfio('03:00.0', { 'a,b': 1 }),
      'vfio: "a,b" cannot be a device property',
      '',
    ],
    ['no arguments', () => raw(), 'raw: give QEMU arguments as strings', "raw('-device', 'edu')"],
    ['an argument that is no string', () => raw('-m', anything(5)), 'raw: give', ''],
    ['a NUL', () => raw('a\0'), 'raw: give', ''],
  ])('%s', (_, make, message, hint) => {
    expect(make).toThrow(UsageError)
    expect(make).toThrow(message)
    expect(make).toThrow(hint)
  })
})
