import { join } from 'node:path'
import { expect, type TestContext, test } from 'vitest'
import { GuestError } from '../../src/errors.ts'
import { getty, LOGIN, PATIENCE, peer, refusal } from '../support/login-peer.ts'

const PEER = join(import.meta.dirname, '../support/login-peer.sh')

/** A guest's login, in one of the ways that the script knows. */
const way = (context: TestContext, name: string, shell = 'bash') =>
  peer(context, [PEER], { WAY: name, SHELL_NAME: shell })

test.for([
  ...['plain', 'kernel', 'autologin', 'early', 'echo'].map((way) => [way, 'bash'] as const),
  ...['dash'].map((shell) => ['plain', shell] as const),
])(
  'a login that is %s, into %s, ends in a quiet shell',
  { timeout: PATIENCE },
  async ([name, bash], context) => {
    const { console, enter, tried } = await way(context, name, bash)
    const shell = await enter()
    expect((await shell.cmd('echo one; echo two')).output).toBe('one\ntwo\n')
    expect((await shell.cmd('stty size')).output).toBe('50 1000\n')
    expect((await shell.cmd('echo "[$PROMPT_COMMAND][$BASH_VERSION]"')).output).toMatch(/^\[\]\[\d/)
    const long = 'x'.repeat(9000)
    expect((await shell.cmd(`echo ${long}`)).output).toBe(`${long}\n`)
    expect(tried()).toEqual(name === 'autologin' ? [] : ['root:geheim'])
    expect(console.text).not.toContain('geheim')
  },
)

test.for(['plain', 'echo'])(
  'a wrong password, %s, is tried once and shown nowhere',
  async (name, context) => {
    const { console, enter, tried } = await way(context, name)
    const error = await refusal(() => enter({ user: 'root', password: 'falsch' }))
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toContain('did not let "root" in: "Login incorrect"')
    expect(error.message).toContain('it was tried once')
    expect(error.message + error.tail + console.text).not.toContain('falsch')
    expect(tried()).toEqual(['root:falsch'])
  },
)

test.concurrent('a password that has expired is named', async (context) => {
  const expired = await way(context, 'expired')
  const error = await refusal(() => expired.enter())
  expect(error.message).toContain('asks for something else')
  expect(error.tail).toContain('required to change your password')
})

test.concurrent('a rescue shell is named', async (context) => {
  const rescue = await way(context, 'maintenance')
  expect((await refusal(() => rescue.enter())).message).toContain('for maintenance')
})

test('a guest that never asks is waited for as long as the signal allows', async (context) => {
  const { enter } = await way(context, 'never')
  const reason = new Error('time is up')
  const signal = AbortSignal.any([AbortSignal.timeout(1500)])
  signal.addEventListener('abort', () => reason)
  await expect(enter(LOGIN, signal)).rejects.toThrow(/timeout/)
})

test('prompts can be given', { timeout: PATIENCE }, async (context) => {
  const { enter } = await way(context, 'plain')
  const shell = await enter({ ...LOGIN, loginPrompt: 'dut0 login: ', passwordPrompt: /word: $/ })
  expect((await shell.cmd('echo in')).output).toBe('in\n')
})

test.concurrent.for([
  ['a banner', `printf 'Unauthorised use of this system is not allowed, see your login:\\n'`],
  ['a profile that complains', `echo '-bash: /opt/tools/env.sh: Permission denied'`],
  ['failed logins', `echo 'Last failed login: Thu Nov 26 09:00:00 UTC 2026 on ttyS0'`],
  ['a locked account', `echo '2 failed login attempts; the account was not locked'`],
  ['a rule about passwords', `echo 'You should change your password every 90 days.'`],
  ['maintenance', `echo 'Login incorrect? Call us. Down for maintenance on Sunday, 02:00.'`],
  ['a verification code', `echo 'New password: none. Verification code: none.'`],
  ['a line that is not finished', `printf 'dut0 login: '; sleep 0.7; echo never`],
  ['a line like a prompt', `printf 'Checking your last login: '; sleep 3; echo done`],
  ['a percentage', `printf 'Loading 40%%'; sleep 1; printf '\\rLoading 80%%'; sleep 1; echo`],
  ['a slow profile', `sleep 6`],
  [
    'boot messages',
    `printf '[\\033[0;1;31mFAILED\\033[0m] Failed to start foo.\\nx[1]: Access denied\\n'`,
  ],
] as const)(
  'output of a login is no prompt and no refusal: %s',
  { timeout: PATIENCE },
  async ([, after], context) => {
    // An empty line wakes a script that sleeps before getty is there, which is not looked at here.
    const isSlow = after.startsWith('sleep')
    for (const script of [getty({ after }), ...(isSlow ? [] : [getty({ before: after })])]) {
      const { enter, tried } = await peer(context, script)
      const shell = await enter()
      expect((await shell.cmd('echo in')).output).toBe('in\n')
      expect(tried()).toEqual(['root:geheim'])
    }
  },
)

test.concurrent.for(['Passwort: ', 'Mot de passe : ', 'パスワード: ', '密码：', 'PASSCODE:'])(
  'a password is asked for in any words: %s',
  { timeout: PATIENCE },
  async (words, context) => {
    const { console, enter, tried } = await peer(context, getty({ ask: `printf '${words}'` }))
    await enter()
    expect(tried()).toEqual(['root:geheim'])
    expect(console.text).not.toContain('geheim')
  },
)

test.concurrent.for([
  ['a kernel line behind it', `printf 'Password: [   12.345678] random: crng init done\\n'`],
  ['a kernel line in it', `printf 'Pass[   12.345678] random: crng init done\\nword: '`],
  ['a line of no known kind behind it', `printf 'Password: cloud-init[512]: done\\n'`],
  [
    'lines of systemd behind it',
    `printf 'Password: [  OK  ] Finished a.\\n         Starting b...\\n'`,
  ],
] as const)(
  'a prompt for the password is found: %s',
  { timeout: PATIENCE },
  async ([, ask], context) => {
    const { enter, tried } = await peer(context, getty({ ask }))
    await enter()
    expect(tried()).toEqual(['root:geheim'])
  },
)

test.concurrent('a screen that is cleared, and is written to while nobody types', {
  timeout: PATIENCE,
}, async (context) => {
  const noise = `(for i in 1 2 3 4 5 6 7 8 9; do sleep 0.3; printf '[%5d.000001] link up\n' $i; done) &`
  const before = `printf '\\033[H\\033[2Jboot menu\\033[10;20H'; ${noise}`
  const { enter, tried } = await peer(
    context,
    getty({ before, prompt: '\\033[H\\033[2Jdut0 login: ' }),
  )
  await enter()
  expect(tried()).toEqual(['root:geheim'])
})

test.concurrent.for([
  [
    'a question of a profile',
    { after: `read -rp 'Proceed? [y/N] ' reply; echo "[$reply]" >>"$TRIES"` },
    ['root:geheim'],
    /asks for something else \("Proceed\? \[y\/N\]"\)[\s\S]*answers: \[\{ prompt: "Proceed\? \[y\/N\]"/,
  ],
  [
    'a question that is echoed, before the password',
    { ask: `read -rp 'Domain: ' reply; echo "[$reply]" >>"$TRIES"` },
    [],
    /"Domain:"[\s\S]*answers/,
  ],
] as const)(
  'nothing is typed at what is not understood, which is told within 30 s: %s',
  { timeout: PATIENCE },
  async ([, parts, typed, message], context) => {
    const { enter, tried } = await peer(context, getty(parts))
    const since = performance.now()
    const error = await refusal(enter)
    expect(performance.now() - since).toBeLessThan(32_000)
    expect(error.message).toMatch(message)
    expect(tried()).toEqual(typed)
  },
)

test.concurrent('other questions are answered, as it was told', {
  timeout: PATIENCE,
}, async (context) => {
  const ask = (what: string) => `read -rp '${what}' reply; echo "[$reply]" >>"$TRIES"`
  const { enter, tried } = await peer(
    context,
    getty({ before: ask('boot: '), after: `${ask('Proceed? [y/N] ')}; ${ask('Role (1-3): ')}` }),
  )
  const answers = [
    { prompt: 'boot:', answer: '' },
    { prompt: /Proceed\? \[y\/N\]/, answer: 'y' },
    { prompt: /^Role .*: $/, answer: '2' },
  ]
  const shell = await enter({ ...LOGIN, answers })
  expect((await shell.cmd('echo in')).output).toBe('in\n')
  expect(tried()).toEqual(['[]', 'root:geheim', '[y]', '[2]'])
})

test.concurrent('a key is pressed where one is asked for', {
  timeout: PATIENCE,
}, async (context) => {
  const after = `read -rsn 1 -p 'Press any key to continue...'; echo`
  const before = `read -rp 'Please press Enter to activate this console. '`
  const { enter, tried } = await peer(context, getty({ before, after }))
  await enter()
  expect(tried()).toEqual(['root:geheim'])
})

test.concurrent('a profile that logs out again is told with its words', async (context) => {
  const after = `echo 'This account is currently not available.'; exec "$BASH" -c "$BASH_EXECUTION_STRING"`
  const { enter, tried } = await peer(context, getty({ after }))
  const error = await refusal(enter)
  expect(error.message).toContain(
    'did not let "root" in: "This account is currently not available."',
  )
  expect(tried()).toEqual(['root:geheim'])
})
