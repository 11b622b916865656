import { atCallSite } from '../../call-site.ts'
import { Console } from '../../console/console.ts'
import type { Pattern } from '../../console/pattern.ts'
import { Shell } from '../../console/shell.ts'
import type { CmdOptions, CmdResult } from '../../console/steps.ts'
import { GuestError } from '../../errors.ts'
import type { Agent } from '../../guest-protocol/agent.ts'
import { asideOf, type ExecOptions, exec } from '../../guest-protocol/exec.ts'
import type { ExecResult } from '../../guest-protocol/exec-result.ts'
import { openTerminal } from '../../guest-protocol/terminal.ts'
import { Lifeline } from '../../lifeline.ts'
import type { Duration } from '../../units.ts'

export interface SessionContext {
  agent: Agent
  life: Lifeline
  where: { vm: string; dut: string }
}

/** A further shell in the same guest, on a terminal of its own. */
export interface Session extends AsyncDisposable {
  readonly name: string
  readonly console: Console
  /** See `Vm.cmd`. */
  cmd(
    commands: string | readonly string[],
    expects?: Pattern | readonly Pattern[],
    timeouts?: Duration | readonly Duration[],
    options?: CmdOptions,
  ): Promise<CmdResult>
  /** See `Vm.exec`. */
  exec(command: string, options?: ExecOptions): Promise<ExecResult>
  /** Ends the shell and everything it runs. */
  close(): Promise<void>
}

const READY_TIMEOUT_MS = 30_000

export async function openSession(
  { agent, life: vmLife, where }: SessionContext,
  name: string,
): Promise<Session> {
  const life = new Lifeline(vmLife)
  const terminal = openTerminal(agent, '', where)
  const console = new Console(terminal, { life, ...where })
  const shell = new Shell(console, { lookAside: asideOf({ agent, life, where }) })
  const ended = (how: string) =>
    life.end(new GuestError(`the session ${name} ${how}`, { ...where, tail: console.tail() }))
  terminal.exited.then(
    (status) => ended(`has ended with status ${status}`),
    (error) => life.end(error),
  )
  const close = async () => {
    terminal.close()
    ended('was closed')
  }
  try {
    await shell.ready({ timeoutMs: READY_TIMEOUT_MS })
  } catch (error) {
    await close()
    throw error
  }
  const session: Session = {
    name,
    console,
    cmd: (...args) => atCallSite(session.cmd, () => shell.cmd(...args)),
    exec: (command, options) =>
      atCallSite(session.exec, () => exec({ agent, life, where }, command, options)),
    close,
    [Symbol.asyncDispose]: close,
  }
  return session
}
