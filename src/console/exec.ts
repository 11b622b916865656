import { CommandFailedError, CommandTimeoutError, UsageError } from '../errors.ts'
import type { Lifeline } from '../lifeline.ts'
import { stopSignal } from '../scope.ts'
import { type Duration, parseDuration } from '../units.ts'
import { waitFor } from '../wait.ts'
import type { Agent } from './agent.ts'
import { agentError } from './agent-error.ts'
import { FromGuest } from './frames.ts'
import { shellQuote } from './line.ts'

export interface ExecOptions {
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

export interface ExecResult {
  /** What was printed, decoded as UTF-8; `stdoutBytes` has it byte for byte. */
  stdout: string
  /** Empty unless `stderr: 'apart'`. */
  stderr: string
  stdoutBytes: Uint8Array
  /** 0 to 255; 128 + n where signal n ended it. */
  exitCode: number
  durationMs: number
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
const LARGE = 64 * 1024

/** See `Vm.exec`. */
export async function exec(
  { agent, life, where }: ExecContext,
  command: string,
  options: ExecOptions = {},
): Promise<ExecResult> {
  const { timeout = DEFAULT_TIMEOUT, input, check = false, stderr = 'merged', signal } = options
  const timeoutMs = parseDuration(timeout, 'timeout')
  const script = makeScript(command, options)
  const stop = stopSignal(life.signal, signal)
  stop?.throwIfAborted()

  const startedAt = performance.now()
  const pieces: Record<'out' | 'err', Uint8Array[]> = { out: [], err: [] }
  const end = Promise.withResolvers<number>()
  const channel = agent.open(({ type, payload }) => {
    if (type === FromGuest.out) pieces.out.push(payload)
    else if (type === FromGuest.err) pieces.err.push(payload)
    else if (type === FromGuest.exit) end.resolve(Buffer.from(payload).readInt32LE())
    else if (type === FromGuest.fail) end.reject(agentError(payload, { ...where }))
  })
  const tail = () => Buffer.concat([...pieces.out, ...pieces.err]).toString()
  let ended = false
  try {
    channel.send('script', script)
    if (input !== undefined && input.length > 0) channel.send('input', input)
    channel.send('run', Uint8Array.of(stderr === 'apart' ? STDERR_APART : 0))
    const exitCode = await waitFor(end.promise, {
      timeoutMs,
      signal: stop,
      onTimeout: (elapsedMs) =>
        new CommandTimeoutError(`${name(command)} did not end in time`, {
          ...where,
          command,
          elapsedMs,
          tail: tail(),
          hint: 'its process group in the guest was killed; a longer time: { timeout: … }',
        }),
    })
    ended = true
    const durationMs = performance.now() - startedAt
    if (check && exitCode !== 0) {
      const message = `${name(command)} ended with status ${exitCode}`
      throw new CommandFailedError(message, {
        ...where,
        command,
        elapsedMs: durationMs,
        tail: tail(),
      })
    }
    const stdoutBytes = Buffer.concat(pieces.out)
    const result = {
      stderr: Buffer.concat(pieces.err).toString(),
      stdoutBytes,
      exitCode,
      durationMs,
    }
    return withText(result, stdoutBytes)
  } finally {
    if (!ended) {
      channel.send('signal', Uint8Array.of(SIGKILL))
      channel.send('close')
    }
    channel.forget()
  }
}

/**
 * Adds `stdout`. Decoding ten megabytes that are no text takes longer than to fetch them, so what is
 * large is decoded when somebody looks at it.
 */
function withText<T extends object>(result: T, bytes: Buffer): T & { stdout: string } {
  if (bytes.length <= LARGE) return { stdout: bytes.toString(), ...result }
  let text: string | undefined
  const get = () => {
    text ??= bytes.toString()
    return text
  }
  const lazy = Object.defineProperty({}, 'stdout', { get, enumerable: true })
  return Object.assign(lazy as { stdout: string }, result)
}

function makeScript(command: string, { cwd, env = {} }: ExecOptions): string {
  if (typeof command !== 'string' || command.includes('\0')) {
    throw new UsageError('exec: the command is not a string without NUL characters')
  }
  const preamble: string[] = []
  for (const [key, value] of Object.entries(env)) {
    if (!/^[A-Za-z_]\w*$/.test(key)) throw new UsageError(`exec: ${key} is no variable's name`)
    preamble.push(`export ${key}=${shellQuote(value)}`)
  }
  if (cwd !== undefined) preamble.push(`cd -- ${shellQuote(cwd)} || exit`)
  return [...preamble, command, ''].join('\n')
}

function name(command: string): string {
  const line = command.trim().split('\n', 1)[0] ?? ''
  return JSON.stringify(line.length > 120 ? `${line.slice(0, 120)}…` : line)
}
