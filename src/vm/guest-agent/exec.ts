import { AbortController, anySignal } from '../../abort.ts'
import { CommandTimeoutError, GuestError, UsageError } from '../../errors.ts'
import type { ExecResult } from '../../guest-protocol/exec-result.ts'
import { guestError, nameOf, resultOf } from '../../guest-protocol/exec-result.ts'
import { type OutputOptions, type Outputs, openOutputs } from '../../output.ts'
import { stopSignal } from '../../scope.ts'
import { performance } from '../../time.ts'
import { type Duration, parseDuration } from '../../units.ts'
import { poll } from '../../wait.ts'
import type { Machine } from '../instance/running-guest.ts'
import { callGuestAgent } from './call.ts'

/** A command of the guest's `/bin/sh`, or a program and its arguments. */
export type GuestAgentCommand = string | { path: string; args?: readonly string[] }

/** The agent itself keeps 16 MB of each stream at most. */
export interface GuestAgentExecOptions extends OutputOptions {
  /** Milliseconds or a string with a unit; 60 s where none is given. */
  timeout?: Duration
  /** What the command reads; its standard input is empty otherwise. */
  input?: string | Uint8Array
  /** Added to the agent's environment; in place of all of it for a program given by its path. */
  env?: Record<string, string>
  /** Rejects on a status other than 0. */
  check?: boolean
  signal?: AbortSignal
}

/** What guest-exec-status returns (QEMU Guest Agent Protocol Reference, GuestExecStatus). */
interface Status {
  exited: boolean
  exitcode?: number
  signal?: number
  'out-data'?: string
  'err-data'?: string
  'out-truncated'?: boolean
  'err-truncated'?: boolean
}

const DEFAULT_TIMEOUT = '60s'
/** How long the agent may take over one answer; each is about a process that it has started. */
const ANSWER_MS = 30_000
/** It is asked after this time, then after a tenth of what the command has taken, and each second at least. */
const LEAST_GAP_MS = 10
const MOST_GAP_MS = 1000

/** See `GuestAgent.exec`. */
export async function agentExec(
  machine: Machine,
  command: GuestAgentCommand,
  options: GuestAgentExecOptions,
): Promise<ExecResult> {
  const outputs = openOutputs(options)
  try {
    return await execInto(outputs, machine, command, options)
  } finally {
    outputs.close()
  }
}

async function execInto(
  outputs: Outputs,
  machine: Machine,
  command: GuestAgentCommand,
  options: GuestAgentExecOptions,
): Promise<ExecResult> {
  const { timeout = DEFAULT_TIMEOUT, check } = options
  const timeoutMs = parseDuration(timeout, 'timeout')
  const args = argumentsOf(command, options)
  const { where, life, guestAgent } = machine
  const over = new AbortController()
  const signal = stopSignal(anySignal(life.signal, guestAgent?.era, options.signal), over.signal)
  const startedAt = performance.now()
  const left = () => Math.max(1, timeoutMs - (performance.now() - startedAt))
  const call = (name: string, its: object, patienceMs: number) =>
    callGuestAgent(machine, name, its, { timeoutMs: patienceMs, signal })
  const words = wordsOf(command)
  const name = nameOf(words)
  const { pid } = (await call('guest-exec', args, Math.min(left(), ANSWER_MS))) as { pid: number }
  let askAt = 0
  const look = async () => {
    const now = performance.now()
    if (now < askAt) return undefined
    const status = (await call('guest-exec-status', { pid }, ANSWER_MS)) as Status
    const gap = (performance.now() - startedAt) / 10
    askAt = performance.now() + Math.min(Math.max(gap, LEAST_GAP_MS), MOST_GAP_MS)
    return status.exited ? status : undefined
  }
  const status = await poll(look, {
    timeoutMs: left(),
    signal,
    onTimeout: () =>
      new CommandTimeoutError(`${name} did not end in time`, {
        ...{ ...where, command: name, elapsedMs: performance.now() - startedAt },
        hint: `the agent cannot end it: it runs on in the guest as process ${pid}; a longer time: { timeout: … }`,
      }),
  }).finally(() => over.abort())
  const exitCode = status.signal === undefined ? (status.exitcode ?? 0) : 128 + status.signal
  if (status['out-truncated'] || status['err-truncated']) {
    const much = 'and printed more than the guest agent keeps, which is 16 MB'
    throw new GuestError(`${name} ended with status ${exitCode}, ${much}`, {
      ...{ ...where, command: name, hint: 'write it to a file in the guest, or use vm.exec' },
    })
  }
  const durationMs = performance.now() - startedAt
  outputs.out.push(Buffer.from(status['out-data'] ?? '', 'base64'))
  outputs.err.push(Buffer.from(status['err-data'] ?? '', 'base64'))
  const details = { ...where, command: words, elapsedMs: durationMs }
  const error = guestError(outputs, { exitCode, check, details })
  if (error) throw error
  return resultOf(outputs, { exitCode, durationMs })
}

/** Arguments of guest-exec. @throws UsageError for a command or a variable that cannot be */
function argumentsOf(
  command: GuestAgentCommand,
  { env = {}, input }: GuestAgentExecOptions,
): object {
  for (const key of Object.keys(env)) {
    if (!/^[A-Za-z_]\w*$/.test(key)) throw new UsageError(`exec: ${key} is no variable's name`)
  }
  const variables = Object.entries(env).map(([key, value]) => `${key}=${value}`)
  const data = input === undefined ? {} : { 'input-data': Buffer.from(input).toString('base64') }
  const common = { 'capture-output': true, ...data }
  if (typeof command === 'string') {
    const shell = ['/bin/sh', '-c', command]
    const [path, ...arg] = variables.length > 0 ? ['env', ...variables, ...shell] : shell
    return { path, arg, ...common }
  }
  const { path, args = [] } = command ?? {}
  if (typeof path !== 'string' || path === '' || !Array.isArray(args)) {
    throw new UsageError('exec: the command is neither a string nor { path, args }', {
      hint: `vm.agent.exec('uname -r') or vm.agent.exec({ path: 'uname', args: ['-r'] })`,
    })
  }
  return { path, arg: args, ...(variables.length > 0 && { env: variables }), ...common }
}

function wordsOf(command: GuestAgentCommand): string {
  return typeof command === 'string' ? command : [command.path, ...(command.args ?? [])].join(' ')
}
