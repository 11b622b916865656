import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Console } from '../../src/console/console.ts'
import { logIn } from '../../src/console/login.ts'
import type { Login } from '../../src/console/login-dialogue.ts'
import { Shell } from '../../src/console/shell.ts'
import { GuestError } from '../../src/errors.ts'
import { localHost } from '../../src/host/local.ts'
import { Lifeline } from '../../src/lifeline.ts'

const PEER = join(import.meta.dirname, 'login-peer.sh')
const LOGIN: Login = { user: 'root', password: 'geheim' }
const PATIENCE = 60_000

/** A console at whose other end a script plays a guest's login. */
async function peer(way: string, shell = 'bash') {
  const dir = await mkdtemp(join(tmpdir(), 'login-'))
  const tries = join(dir, 'tries')
  const env = { WAY: way, SHELL_NAME: shell, TRIES: tries, HISTFILE: '' }
  const pty = localHost().openPty('bash', [PEER], { env, cols: 80 })
  const life = new Lifeline()
  void pty.exited.then(() => life.end(new Error('the peer is gone')))
  const console = new Console(pty, { life, vm: 'vm0', dut: 'dut0' })
  onTestFinished(async () => {
    pty.kill()
    await pty.exited
    await rm(dir, { recursive: true })
  })
  const enter = async (login: Login = LOGIN, signal = AbortSignal.timeout(PATIENCE)) => {
    const shell = new Shell(console)
    await logIn(console, login, { signal })
    await shell.ready({ timeoutMs: PATIENCE })
    return shell
  }
  const tried = () => (existsSync(tries) ? readFileSync(tries, 'utf8').trim().split('\n') : [])
  return { console, enter, tried }
}

const refusal = (enter: () => Promise<unknown>) =>
  enter().then(
    () => expect.unreachable(),
    (error: unknown) => error as GuestError,
  )

test.for([
  ...['plain', 'kernel', 'autologin', 'early', 'echo'].map((way) => [way, 'bash'] as const),
  ...['dash'].map((shell) => ['plain', shell] as const),
])(
  'a login that is %s, into %s, ends in a quiet shell',
  { timeout: PATIENCE },
  async ([way, name]) => {
    const { console, enter, tried } = await peer(way, name)
    const shell = await enter()
    expect((await shell.cmd('echo one; echo two')).output).toBe('one\ntwo\n')
    expect((await shell.cmd('stty size')).output).toBe('50 1000\n')
    expect((await shell.cmd('echo "[$PROMPT_COMMAND][$BASH_VERSION]"')).output).toMatch(/^\[\]\[\d/)
    const long = 'x'.repeat(9000)
    expect((await shell.cmd(`echo ${long}`)).output).toBe(`${long}\n`)
    expect(tried()).toEqual(way === 'autologin' ? [] : ['root:geheim'])
    expect(console.text).not.toContain('geheim')
  },
)

test.for(['plain', 'echo'])(
  'a wrong password, %s, is tried once and shown nowhere',
  async (way) => {
    const { console, enter, tried } = await peer(way)
    const error = await refusal(() => enter({ user: 'root', password: 'falsch' }))
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toContain('did not let "root" in: "Login incorrect"')
    expect(error.message).toContain('it was tried once')
    expect(error.message + error.tail + console.text).not.toContain('falsch')
    expect(tried()).toEqual(['root:falsch'])
  },
)

test('a password that has expired, and a rescue shell, are named', async () => {
  const expired = await peer('expired')
  const error = await refusal(() => expired.enter())
  expect(error.message).toContain('asks for something else')
  expect(error.tail).toContain('required to change your password')
  const rescue = await peer('maintenance')
  expect((await refusal(() => rescue.enter())).message).toContain('for maintenance')
})

test('a guest that never asks is waited for as long as the signal allows', async () => {
  const { enter } = await peer('never')
  const reason = new Error('time is up')
  const signal = AbortSignal.any([AbortSignal.timeout(1500)])
  signal.addEventListener('abort', () => reason)
  await expect(enter(LOGIN, signal)).rejects.toThrow(/timeout/)
})

test('prompts can be given', { timeout: PATIENCE }, async () => {
  const { enter } = await peer('plain')
  const shell = await enter({ ...LOGIN, loginPrompt: 'dut0 login: ', passwordPrompt: /word: $/ })
  expect((await shell.cmd('echo in')).output).toBe('in\n')
})
