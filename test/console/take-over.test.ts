import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Console } from '../../src/console/console.ts'
import { Shell } from '../../src/console/shell.ts'
import { takeOverLine } from '../../src/console/take-over.ts'
import { localHost } from '../../src/host/local.ts'
import { Lifeline } from '../../src/lifeline.ts'

/** A login shell whose profile is `profile`, taken over. */
async function takenOver(profile: string): Promise<Shell> {
  const dir = await mkdtemp(join(tmpdir(), 'profile-'))
  await writeFile(join(dir, 'rc'), `PS1='login$ '\n${profile}\n`)
  const pty = localHost().openPty('bash', ['--noprofile', '--rcfile', join(dir, 'rc'), '-i'])
  const life = new Lifeline()
  void pty.exited.then(() => life.end(new Error('the shell is gone')))
  onTestFinished(async () => {
    pty.kill()
    await pty.exited
    await rm(dir, { recursive: true })
  })
  const console = new Console(pty, { life })
  await console.expect('login$ ', '20s')
  const shell = new Shell(console)
  console.send(takeOverLine())
  await shell.ready({ timeoutMs: 20_000 })
  return shell
}

test.for([
  ['TMOUT is exported', 'export TMOUT=2'],
  ['TMOUT cannot be changed', 'readonly TMOUT=2; export TMOUT'],
  ['TMOUT is declared as hardening guides do', 'declare -irx TMOUT=2'],
  ['the prompts cannot be changed', `PS2='> '; readonly PS1 PS2 TERM; export PS1 PS2 TERM`],
  [
    'PROMPT_COMMAND cannot be changed',
    `readonly PROMPT_COMMAND='printf title'; export PROMPT_COMMAND`,
  ],
  ['PS0 is exported', `export PS0='begins '`],
])('a shell in which %s is taken over by a quiet one', async ([, profile]) => {
  const shell = await takenOver(profile as string)
  const { outputs } = await shell.cmd([
    'echo "[$TMOUT$PS1$PS2$PS0$PROMPT_COMMAND]$TERM"',
    'echo on',
  ])
  expect(outputs).toEqual(['[]dumb\n', 'on\n'])
})
