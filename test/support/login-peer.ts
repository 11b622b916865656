import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'vitest'
import { Console } from '../../src/console/console.ts'
import { logIn } from '../../src/console/login.ts'
import type { Login } from '../../src/console/login-prompt.ts'
import { Shell } from '../../src/console/shell.ts'
import type { GuestError } from '../../src/errors.ts'
import { localHost } from '../../src/host/local.ts'
import { Lifeline } from '../../src/lifeline.ts'

export const LOGIN: Login = { user: 'root', password: 'geheim' }
export const PATIENCE = 60_000

/** A console at whose other end a bash plays a guest's login; what is typed at it is in $TRIES. */
export async function peer(
  { onTestFinished }: Pick<TestContext, 'onTestFinished'>,
  args: readonly string[],
  env: Record<string, string> = {},
) {
  const dir = await mkdtemp(join(tmpdir(), 'login-'))
  const tries = join(dir, 'tries')
  const pty = localHost().openPty('bash', [...args], {
    env: { TRIES: tries, HISTFILE: '', ...env },
    cols: 80,
  })
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

export const refusal = (enter: () => Promise<unknown>): Promise<GuestError> =>
  enter().then(
    () => {
      throw new Error('it let the user in')
    },
    (error: unknown) => error as GuestError,
  )

interface Getty {
  /** Before it asks for the first time. */
  before?: string
  prompt?: string
  ask?: string
  wrong?: string
  /** Between a right password and the shell. */
  after?: string
  ps1?: string
}

/** A script of getty and login, each part of which may be another. */
export const getty = ({
  before = ':',
  prompt = 'dut0 login: ',
  ask = `printf 'Password: '`,
  wrong = 'Login incorrect',
  after = ':',
  ps1 = '\\u@\\h:\\w\\$ ',
}: Getty = {}): string[] => [
  '-c',
  `${before}
while :; do
  printf '\\nDebian GNU/Linux 12 dut0 ttyS0\\n\\n${prompt}'
  read -r user
  ${ask}
  stty -echo; read -r password; stty echo; printf '\\n'
  echo "$user:$password" >>"$TRIES"
  [ "$user:$password" = root:geheim ] && break
  printf '\\n${wrong}\\n'
done
${after}
export PS1='${ps1}'
exec bash --noprofile --norc -i`,
]
