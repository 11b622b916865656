import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { UsageError } from '../../../src/errors.ts'
import { resolveSpec, type VmSpec } from '../../../src/vm/spec/spec.ts'

const login = { user: 'root', password: 'geheim' }

test('a disk with a login is a guest, with its defaults', () => {
  const { guest } = resolveSpec({ guest: { disk: '/i/a.qcow2' }, login }, 0)
  expect(guest).toEqual({
    disk: { file: '/i/a.qcow2', bus: 'virtio', readonly: false, snapshot: true },
    login: { user: 'root' },
  })
  expect(guest !== 'default' && guest.login?.password).toBe('geheim')
  expect(JSON.stringify(guest) + inspect(guest, { depth: 9 })).not.toContain('geheim')
})

test('the login can be the guest’s, or both if they are the same', () => {
  const inside = resolveSpec({ guest: { disk: '/i/a', login } }, 0)
  const both = resolveSpec({ guest: { disk: '/i/a', login }, login: { ...login } }, 0)
  expect(inside.guest).toEqual(both.guest)
})

test('a kernel needs no disk', () => {
  const kernel = { kernel: '/k', initrd: '/i', append: 'console=ttyS0' }
  expect(resolveSpec({ guest: kernel }, 0).guest).toEqual(kernel)
})

describe('refused is', () => {
  test.each<[VmSpec, string]>([
    [{ login }, 'the default guest has no login'],
    [{ guest: {} }, 'guest has neither a disk nor a kernel'],
    [{ guest: { disk: 'a.qcow2' } }, 'guest.disk: "a.qcow2" is not an absolute path'],
    [{ guest: { kernel: 'vmlinuz' } }, 'guest.kernel: "vmlinuz" is not an absolute path'],
    [{ guest: { disk: '/a', append: 'quiet' } }, 'guest.append is of no use without guest.kernel'],
    [{ guest: { disk: '/a', initrd: '/b' } }, 'guest.initrd is of no use without guest.kernel'],
    [{ guest: { kernel: '/a', format: 'raw' } }, 'guest.format is of no use without guest.disk'],
    [{ guest: { disk: '/a', format: 'qcow3' } }, 'did you mean'],
    [{ guest: { disc: '/a' } as never }, 'did you mean "disk"?'],
    [{ guest: { disk: '/a' }, login: { user: '', password: '' } }, 'login.user is empty'],
    [
      { guest: { disk: '/a' }, login: { ...login, prompt: '' } as never },
      'unknown option "prompt"',
    ],
    [
      { guest: { disk: '/a', login }, login: { user: 'me', password: '' } },
      'login and guest.login differ',
    ],
    [{ guest: { disk: '/a' }, login: { ...login, shellPrompt: 5 } as never }, 'login.shellPrompt'],
    ...[{ prompt: 'a', answer: 'y' }, ['y'], [{ prompt: '', answer: 'y' }], [{ prompt: /a/ }]].map(
      (answers): [VmSpec, string] => [
        { guest: { disk: '/a' }, login: { ...login, answers } as never },
        'login.answers',
      ],
    ),
    [
      {
        guest: { disk: '/a', login: { ...login, answers: [{ prompt: /a/, answer: 'y' }] } },
        login: { ...login, answers: [{ prompt: /a/, answer: 'n' }] },
      },
      'login and guest.login differ',
    ],
  ])('%j', (spec, message) => {
    expect(() => resolveSpec(spec, 0)).toThrow(UsageError)
    expect(() => resolveSpec(spec, 0)).toThrow(message)
  })

  test('a password of several lines, without being shown', () => {
    const bad = { user: 'root', password: 'ge\nheim' }
    const call = () => resolveSpec({ guest: { disk: '/a' }, login: bad }, 0)
    expect(call).toThrow('login.password is not a string of printable characters')
    expect(call).not.toThrow(/heim/)
  })
})
