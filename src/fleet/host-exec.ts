import type { ExecOptions, ExecResult } from '../console/exec.ts'
import type { ProgramTerminal } from '../console/program.ts'
import { CommandTimeoutError, InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import { stopSignal } from '../scope.ts'
import { parseDuration } from '../units.ts'
import { anySignal, waitFor } from '../wait.ts'
import { suiteEnv } from './leftovers.ts'

/** For the error of a command that is late, in characters. */
const REMEMBERED = 10_000

/** What runs there runs for one suite on one DUT. */
interface OnHost {
  host: Host
  name: string
  /** The suite's folder. */
  dir: string
}

/** See `Dut.exec`: what `Vm.exec` is for a guest. */
export async function hostExec(
  { host, name: dut, dir }: OnHost,
  command: string,
  { timeout = '60s', cwd, env, input, check, stderr = 'merged', signal }: ExecOptions = {},
): Promise<ExecResult> {
  const timeoutMs = parseDuration(timeout, 'timeout')
  const startedAt = performance.now()
  const late = new AbortController()
  let printed = ''
  const script = stderr === 'merged' ? `exec 2>&1\n${command}` : command
  const running = host.run('bash', ['-c', script], {
    ...{ cwd, input, leash: true },
    env: { ...env, ...suiteEnv(dir) },
    signal: anySignal(stopSignal(signal), late.signal),
    onOutput: (text) => {
      printed = (printed + text).slice(-REMEMBERED)
    },
  })
  const result = await waitFor(running, {
    timeoutMs,
    onTimeout: (elapsedMs) => {
      const error = new CommandTimeoutError(`${JSON.stringify(command)} did not end in time`, {
        ...{ dut, command, elapsedMs, tail: printed },
      })
      late.abort(error)
      return error
    },
  })
  const durationMs = performance.now() - startedAt
  if (check && result.exitCode !== 0) {
    const message = `${JSON.stringify(command)} ended with status ${result.exitCode}`
    const tail = result.stdout + result.stderr
    throw new InfrastructureError(message, { dut, command, elapsedMs: durationMs, tail })
  }
  return { ...result, stdoutBytes: Buffer.from(result.stdout), durationMs }
}

/** A program of the DUT on a terminal of its own. */
export function hostTerminal(
  { host, dir }: Omit<OnHost, 'name'>,
  command: string | readonly string[],
): ProgramTerminal {
  const [file = '', ...args] = typeof command === 'string' ? ['bash', '-c', command] : command
  const pty = host.openPty(file, args, { env: suiteEnv(dir), leash: true })
  return {
    onData: (listener) => pty.onData(listener),
    write: (data) => pty.write(data),
    exited: pty.exited.then((exit) => exit.exitCode),
    close: () => pty.kill(),
  }
}
