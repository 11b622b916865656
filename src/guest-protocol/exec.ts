import type { LookAside } from '../console/foreground.ts'
import { shellQuote } from '../console/line.ts'
import { CommandTimeoutError, UsageError, withHint } from '../errors.ts'
import type { Lifeline } from '../lifeline.ts'
import { type OutputOptions, openOutputs } from '../output.ts'
import { stopSignal } from '../scope.ts'
import { performance } from '../time.ts'
import { type Duration, parseDuration } from '../units.ts'
import { waitFor } from '../wait.ts'
import type { Agent } from './agent.ts'
import { agentError } from './agent-error.ts'
import { checkCommand, type ExecResult, guestError, nameOf, resultOf } from './exec-result.ts'
import { FromGuest } from './frames.ts'
import { whyKilled } from './killed.ts'

export interface ExecOptions extends OutputOptions {
  /** Milliseconds or a string with a unit; 60 s where none is given. */
  timeout?: Duration
  /** Folder in the guest; `/root` where none is given. */
  cwd?: string
  /** Added to the environment of the guest's shell. */
  env?: Record<string, string>
  /** What the command reads; its standard input is empty otherwise. */
  input?: string | Uint8Array
  /** Rejects on a status other than 0. */
  check?: boolean
  /** `'merged'` into `stdout`, in the order in which both were written, or `'apart'`. */
  stderr?: 'merged' | 'apart'
  signal?: AbortSignal
}

/** The guest that commands run in. */
export interface ExecContext {
  agent: Agent
  life: Lifeline
  where: { vm?: string; dut?: string }
}

const DEFAULT_TIMEOUT = '60s'
const STDERR_APART = 1
const SIGKILL = 9
/** How long a guest may take to say that it has killed a command whose time was over. */
const KILLED_MS = 1000
const ANSWER_TIMEOUT = '15s'

const ASIDE_TIMEOUT = '10s'

/** Runs scripts in the guest for whoever has to look at its consoles. */
export function asideOf(context: ExecContext): LookAside {
  return async (script) => (await exec(context, script, { timeout: ASIDE_TIMEOUT })).stdout
}

/** See `Vm.exec`. */
export async function exec(
  { agent, life, where }: ExecContext,
  command: string,
  options: ExecOptions = {},
): Promise<ExecResult> {
  const { timeout = DEFAULT_TIMEOUT, input, check, stderr = 'merged', signal } = options
  const timeoutMs = parseDuration(timeout, 'timeout')
  const script = makeScript(command, options)
  const stop = stopSignal(life.signal, signal)
  stop?.throwIfAborted()

  const outputs = openOutputs(options)
  const startedAt = performance.now()
  const end = Promise.withResolvers<number>()
  const channel = agent.open(({ type, payload }) => {
    if (type === FromGuest.out) outputs.out.push(payload)
    else if (type === FromGuest.err) outputs.err.push(payload)
    else if (type === FromGuest.exit) end.resolve(Buffer.from(payload).readInt32LE())
    else if (type === FromGuest.fail) end.reject(agentError(payload, { ...where }))
  }, end.reject)
  let ended = false
  try {
    channel.send('script', script)
    if (input !== undefined && input.length > 0) channel.send('input', input)
    channel.send('run', Uint8Array.of(stderr === 'apart' ? STDERR_APART : 0))
    const exitCode = await waitFor(Promise.race([end.promise, outputs.failed]), {
      timeoutMs,
      signal: stop,
      onTimeout: (elapsedMs) =>
        new CommandTimeoutError(`${nameOf(command)} did not end in time`, {
          ...where,
          command,
          elapsedMs,
          tail: outputs.tail(),
        }),
    }).catch(async (error) => {
      if (!(error instanceof CommandTimeoutError)) throw error
      channel.send('signal', Uint8Array.of(SIGKILL))
      throw withHint(error, await fateOf(end.promise, { agent, life, where }, stop))
    })
    ended = true
    const durationMs = performance.now() - startedAt
    const hint =
      check && exitCode !== 0
        ? await whyEnded({ agent, life, where }, exitCode, durationMs)
        : undefined
    const details = { ...where, command, elapsedMs: durationMs, ...(hint && { hint }) }
    const error = guestError(outputs, { exitCode, check, details })
    if (error) throw error
    return resultOf(outputs, { exitCode, durationMs })
  } finally {
    if (!ended) {
      channel.send('signal', Uint8Array.of(SIGKILL))
      channel.send('close')
    }
    channel.forget()
    outputs.close()
  }
}

/** Why a signal ended a program in a guest, as its kernel tells; undefined where it does not. */
export function whyEnded(
  guest: ExecContext,
  exitCode: number,
  elapsedMs: number,
): Promise<string | undefined> {
  const ask = async (script: string) =>
    (await exec(guest, script, { timeout: ANSWER_TIMEOUT })).stdout
  return whyKilled(exitCode, elapsedMs, ask)
}

/** The fate of a command that was to be killed, as far as it is known. @param ended its end */
async function fateOf(
  ended: Promise<unknown>,
  { agent, life }: ExecContext,
  signal: AbortSignal | undefined,
): Promise<string> {
  const later = 'a longer time: { timeout: … }'
  if (life.still) return life.still.hint
  const isKilled = await waitFor(ended, { timeoutMs: KILLED_MS, signal }).then(
    () => true,
    () => false,
  )
  if (isKilled) return `it was killed in the guest; ${later}`
  const reason = await life.diagnose()
  if (reason !== undefined) return reason
  if (!agent.isThere)
    return 'the agent in the guest has ended meanwhile, and it may still run there'
  return `the guest has not said so far that it was killed: it is very busy, or hangs; ${later}`
}

function makeScript(command: string, { cwd, env = {} }: ExecOptions): string {
  checkCommand(command)
  const preamble: string[] = []
  for (const [key, value] of Object.entries(env)) {
    if (!/^[A-Za-z_]\w*$/.test(key)) throw new UsageError(`exec: ${key} is no variable's name`)
    preamble.push(`export ${key}=${shellQuote(value)}`)
  }
  if (cwd !== undefined) preamble.push(`cd -- ${shellQuote(cwd)} || exit`)
  return [...preamble, command, ''].join('\n')
}
