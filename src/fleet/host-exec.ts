import { AbortController, anySignal } from '../abort.ts'
import type { ProgramTerminal, SpawnOptions } from '../console/program.ts'
import { CommandTimeoutError, InfrastructureError } from '../errors.ts'
import type { ExecOptions } from '../guest-protocol/exec.ts'
import type { ExecResult } from '../guest-protocol/exec-result.ts'
import { checkCommand, endError, nameOf, resultOf } from '../guest-protocol/exec-result.ts'
import type { Host } from '../host/host.ts'
import { watchKills } from '../host/killed.ts'
import { openOutputs } from '../output.ts'
import { stopSignal } from '../scope.ts'
import { performance } from '../time.ts'
import { parseDuration } from '../units.ts'
import { waitFor } from '../wait.ts'
import { suiteEnv } from './leftovers.ts'

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
  options: ExecOptions = {},
): Promise<ExecResult> {
  const { timeout = '60s', cwd, env, input, check, stderr = 'merged', signal } = options
  const timeoutMs = parseDuration(timeout, 'timeout')
  checkCommand(command)
  const outputs = openOutputs(options)
  const startedAt = performance.now()
  const late = new AbortController()
  const script = stderr === 'merged' ? `exec 2>&1\n${command}` : command
  try {
    const running = host.run('bash', ['-c', script], {
      ...{ cwd, input, leash: true, outputs },
      env: { ...env, ...suiteEnv(dir) },
      signal: anySignal(stopSignal(signal), late.signal),
    })
    const exit = await waitFor(running, {
      timeoutMs,
      onTimeout: (elapsedMs) => {
        const error = new CommandTimeoutError(`${nameOf(command)} did not end in time`, {
          ...{ dut, command, elapsedMs, tail: outputs.tail() },
        })
        late.abort(error)
        return error
      },
    })
    const durationMs = performance.now() - startedAt
    const details = { dut, command, elapsedMs: durationMs }
    const ended = { exitCode: exit.exitCode, check, details }
    const error = endError(outputs, ended, InfrastructureError)
    if (error) throw error
    return resultOf(outputs, { exitCode: exit.exitCode, durationMs })
  } finally {
    outputs.close()
  }
}

/** A program of the DUT on a terminal of its own. */
export function hostTerminal(
  { host, dir }: Omit<OnHost, 'name'>,
  command: string | readonly string[],
  { stderr = 'merged' }: Pick<SpawnOptions, 'stderr'> = {},
): ProgramTerminal & { explain: () => Promise<string | undefined> } {
  const [file = '', ...args] = typeof command === 'string' ? ['bash', '-c', command] : command
  const pty = host.openPty(file, args, { env: suiteEnv(dir), leash: true, stderr })
  const explain = watchKills(host, pty.pid, { hugepages: true })
  return {
    onData: (listener) => pty.onData(listener),
    onStderr: (listener) => pty.onStderr(listener),
    write: (data) => pty.write(data),
    exited: pty.exited.then((exit) => exit.exitCode),
    explain: () => pty.exited.then(explain),
    close: () => pty.kill(),
  }
}
