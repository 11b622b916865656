import { dutTest, expect, type GuestError } from 'vitest-dut'
import { diskVariant } from '../support/disk-variant.ts'

/* A real getty and a real login, with what administrators put around them. */

const test = dutTest({ vms: 0, bootTimeout: '10m' })

const WORDS = `
  printf '\\033[H\\033[2JUnauthorised use is not allowed, access denied. Login incorrect?\\n\\\\n \\\\l\\n' >etc/issue
  printf 'Down for maintenance on Sunday.\\nPassword: none\\nVerification code: none\\nlogin:\\n' >etc/motd
  printf '%s\\n' 'echo "Last failed login: Thu Nov 26 09:00:00 UTC 2026 on ttyS0"' \\
    'echo "-bash: /opt/env.sh: Permission denied"' \\
    'read -rp "Proceed? [y/N] " reply; [ "$reply" = y ] || exit' >etc/profile.d/zz-ask.sh`

test('a login among misleading words, and a question of a profile', { timeout: 1_500_000 }, async ({
  dut,
}) => {
  const spec = { ...(await diskVariant(dut, WORDS)), boot: 'cold' } as const
  const error: GuestError = await dut.start(spec).then(
    () => expect.unreachable(),
    (error: unknown) => error as GuestError,
  )
  expect(error.message).toContain('Proceed? [y/N]")')
  expect(error.hint).toContain(`login: { answers: [{ prompt: "Proceed? [y/N]", answer: '…' }] }`)
  const login = { ...spec.login, answers: [{ prompt: 'Proceed? [y/N]', answer: 'y' }] }
  const vm = await dut.start({ ...spec, login })
  expect((await vm.cmd('id -un; tty')).output).toBe('root\n/dev/ttyS0\n')
  expect(vm.console.text).not.toMatch(/Password: *\S*dut/)
})
