import { describe, expect, test } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import { needsSharedMemory, qemuArgs } from '../../src/qemu/args.ts'
import { link, type VirtioCryptoOptions, virtioCrypto } from '../../src/qemu/devices.ts'
import { resolveSpec } from '../../src/vm/spec/spec.ts'
import { whyNoTemplate } from '../../src/vm/template/obtain.ts'
import { shapeWith } from '../support/shape.ts'

const argsOf = (options: VirtioCryptoOptions, accel: 'kvm' | 'tcg' = 'kvm') =>
  qemuArgs(shapeWith({ accel, devices: [{ device: virtioCrypto(options), mac: '' }] }))
    .join(' ')
    .replace(/^.*?(?=-chardev socket,id=vhost0|-object cryptodev)/, '')

describe('a crypto device', () => {
  test.each<[VirtioCryptoOptions, string]>([
    [
      {},
      '-object cryptodev-backend-builtin,id=crypto0 -device virtio-crypto-pci,cryptodev=crypto0',
    ],
    [
      { queues: 1, properties: { addr: '9', ats: true } },
      '-object cryptodev-backend-builtin,id=crypto0 -device virtio-crypto-pci,cryptodev=crypto0,addr=9,ats=on',
    ],
    [
      { path: '/run/c,0' },
      '-chardev socket,id=vhost0,path=/run/c,,0 -object cryptodev-vhost-user,id=crypto0,chardev=vhost0,queues=1 ' +
        '-device virtio-crypto-pci,cryptodev=crypto0',
    ],
    [
      { path: '/run/c', server: true, queues: 4 },
      '-chardev socket,id=vhost0,path=/run/c,server=on,wait=off ' +
        '-object cryptodev-vhost-user,id=crypto0,chardev=vhost0,queues=4 -device virtio-crypto-pci,cryptodev=crypto0',
    ],
  ])('%j', (options, wanted) => {
    expect(argsOf(options)).toBe(wanted)
  })

  test('has no MSI-X where QEMU emulates the CPU and another process has the queues', () => {
    expect(argsOf({ path: '/run/c' }, 'tcg')).toMatch(/cryptodev=crypto0,vectors=0$/)
    expect(argsOf({}, 'tcg')).not.toContain('vectors')
  })

  test.each<[object, RegExp]>([
    [{ paht: '/x' }, /unknown option "paht".*"path"/s],
    [{ path: '' }, /path is missing/],
    [{ path: `/${'x'.repeat(107)}` }, /path has 108 bytes/],
    [{ path: 7 }, /path is missing/],
    [{ queues: 2 }, /queues is for a backend at a path/],
    [{ server: true }, /server is for a backend at a path/],
    [{ path: '/x', queues: 65 }, /65 is not a whole number from 1 to 64/],
    [{ path: '/x', queues: 1.5 }, /not a whole number/],
    [{ properties: { 'a=b': 1 } }, /"a=b" cannot be a device property/],
  ])('%j is refused', (options, message) => {
    expect(() => virtioCrypto(options)).toThrow(UsageError)
    expect(() => virtioCrypto(options)).toThrow(message)
  })

  test('has shared memory where another process has its queues', () => {
    expect(needsSharedMemory([virtioCrypto({ path: '/x' })])).toBe(true)
    expect(needsSharedMemory([virtioCrypto()])).toBe(false)
    expect(resolveSpec({ devices: [virtioCrypto({ path: '/x' })] }, 0).memory.shared).toBe(true)
  })

  test('is no part of a template', () => {
    const spec = resolveSpec({ devices: [link('lan'), virtioCrypto()] }, 0)
    expect(whyNoTemplate(spec)).toBe('a virtio-crypto device cannot be saved')
  })
})
