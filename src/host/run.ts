import { constants } from 'node:os'
import type { Writable } from 'node:stream'
import { InfrastructureError } from '../errors.ts'
import { waitFor } from '../wait.ts'
import { bound, isMissing, leashed, letGo } from './bound.ts'
import type { Exit, RunOptions, RunResult } from './host.ts'
import { missing } from './missing.ts'

/** How long a program may take to end in order before it is killed. */
const GRACE_MS = 1000

// It takes 100 ms to load, which a worker that only drives consoles need not pay at its start. Once only:
// while Vitest closes, when the last clean-up is done, it no longer gives out what it has loaded.
let loading: Promise<typeof import('execa')> | undefined

/** See `Host.run`. */
export async function run(
  file: string,
  args: readonly string[],
  { cwd, env, input, signal, onOutput, leash = false }: RunOptions = {},
): Promise<RunResult> {
  loading ??= import('execa')
  const { execa } = await loading
  signal?.throwIfAborted()
  const child = execa(...(leash ? leashed(file, args) : bound(file, args)), {
    stdio: leash ? ['pipe', 'pipe', 'pipe', 'pipe'] : 'pipe',
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env }),
    input: input ?? '',
    reject: false,
    stripFinalNewline: false,
    // A process group of its own: a child that outlived the program would keep its output open, and
    // Ctrl-C must not reach what a teardown runs.
    detached: true,
  })
  if (onOutput) {
    child.stdout.on('data', (chunk) => onOutput(String(chunk)))
    child.stderr.on('data', (chunk) => onOutput(String(chunk)))
  }
  const exited = new Promise<void>((resolve) =>
    child.nodeChildProcess.once('exit', () => {
      if (leash) (child.stdio[3] as Writable).end(letGo)
      resolve()
    }),
  )
  const result = await waitFor(child, { signal }).catch(async (error) => {
    if (child.pid !== undefined) await endGroup(child.pid, exited)
    child.stdout.destroy()
    child.stderr.destroy()
    throw error
  })
  if (result.exitCode === undefined && result.signal === undefined) {
    if (result.code === 'ENOENT' && cwd === undefined) throw missing('setpriv')
    throw new InfrastructureError(`${file} could not be started: ${result.originalMessage}`, {
      command: file,
      cause: result.cause,
    })
  }
  if (isMissing(result, file)) throw missing(file)
  const ended: Exit = result.signal
    ? { exitCode: 128 + constants.signals[result.signal], signal: result.signal }
    : { exitCode: result.exitCode ?? 1 }
  return { ...ended, stdout: result.stdout, stderr: result.stderr }
}

async function endGroup(leader: number, exited: Promise<void>): Promise<void> {
  signalGroup(leader, 'SIGTERM')
  await waitFor(exited, { timeoutMs: GRACE_MS }).catch(() => {})
  signalGroup(leader, 'SIGKILL')
  await exited
}

function signalGroup(leader: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-leader, signal)
  } catch {} // nobody is left in it
}
