import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { CommandTimeoutError, GuestError } from '../../src/errors.ts'
import { localShell } from '../support/local-shell.ts'
import {
  type Change,
  changed,
  changes,
  FRESH,
  isRight,
  type ShellModel,
} from '../support/shell-changes.ts'

/** Another one each time; the test's name tells it. */
const SEED = Number(process.env.CONSOLE_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 30))
/** All of them within a minute, or as many as are asked for. */
const RUNS = Number(process.env.CONSOLE_FUZZ_RUNS ?? Number.POSITIVE_INFINITY)
const BUDGET_MS = RUNS === Number.POSITIVE_INFINITY ? 45_000 : Number.POSITIVE_INFINITY

/** Numbers from 0 to 1 that follow from a seed (mulberry32). */
function randomOf(seed: number): () => number {
  let a = seed
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

function sequenceOf(seed: number, all: readonly Change[]): Change[] {
  const random = randomOf(seed)
  const pick = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)] as T
  return Array.from({ length: 1 + Math.floor(random() * 6) }, () => pick(all))
}

test(`whatever was done to a shell, the next command is exact (CONSOLE_FUZZ_SEED=${SEED})`, {
  timeout: 0,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'fuzz-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const activate = `_old=$PS1; PS1="(env) $PS1"; deactivate() { PS1=$_old; unset -f deactivate; }\n`
  await writeFile(`${folder}/activate`, activate)
  await writeFile(`${folder}/transcript`, '')
  const all = changes(folder)
  const startedAt = performance.now()
  const failures: unknown[] = []
  let local = await localShell({ respawn: true, lookAside: true })
  let model: ShellModel = FRESH
  const told: string[] = []
  let slowest = 0
  let runs = 0
  for (let i = 0; i < RUNS && performance.now() - startedAt < BUDGET_MS; i++) {
    runs++
    const done: string[] = []
    const token = `token-${i}`
    const { shell } = local
    try {
      for (const change of sequenceOf(SEED + i, all)) {
        done.push(change.command)
        const typedAt = performance.now()
        const error = await shell.cmd(change.command, '', '20s').then(
          () => undefined,
          (error: Error) => error,
        )
        slowest = Math.max(slowest, performance.now() - typedAt)
        // A wait that ran out is a shell that was lost, not an answer.
        const isTold = error instanceof GuestError && !(error instanceof CommandTimeoutError)
        if (error !== undefined && !isTold) throw error
        if (error) done.push(`! ${error.message.split('\n')[0]}`)
        const isNew = error?.message.includes('the shell ended')
        model = isNew ? FRESH : changed(model, change)
      }
      const { output, steps } = await shell.cmd(`echo ${token}`, '', '20s')
      if (!isRight(output, token, model) || steps[0]?.exitCode !== 0) {
        failures.push({ seed: SEED + i, done, model, output, steps })
      }
      const quiet = model.out ? '' : 'exec >/dev/tty; '
      const { outputs } = await shell.cmd([`${quiet}set +x; builtin trap - DEBUG`, 'echo "a\nb"'])
      if (outputs[1]?.replaceAll('late\n', '') !== 'a\nb\n')
        failures.push({ seed: SEED + i, done, outputs })
    } catch (error) {
      const text = String(error).split('\n').slice(0, 3).join(' / ')
      if (error instanceof CommandTimeoutError || !/the shell ended/.test(text)) {
        failures.push({ seed: SEED + i, done, model, error: text })
      } else told.push(text)
    }
    await writeFile(`${folder}/transcript`, local.raw())
    local.pty.kill()
    local = await localShell({ respawn: true, lookAside: true })
    model = FRESH
    if (failures.length > 10) break
  }
  const seconds = (slowest / 1000).toFixed(1)
  console.log(
    `${runs} sequences, the slowest step ${seconds} s, ${told.length} of them ended the shell`,
  )
  expect(failures).toEqual([])
})
