import { atCallSite } from '../call-site.ts'
import type { Console } from '../console/console.ts'
import type { Pattern } from '../console/pattern.ts'
import type { Program, SpawnOptions } from '../console/program.ts'
import type { Shell } from '../console/shell.ts'
import type { CmdOptions, CmdResult } from '../console/steps.ts'
import { UsageError } from '../errors.ts'
import { type ExecOptions, exec } from '../guest-protocol/exec.ts'
import type { ExecResult } from '../guest-protocol/exec-result.ts'
import { defer, stopSignal } from '../scope.ts'
import type { Duration } from '../units.ts'
import { copyIn, copyOut } from './guest/copy.ts'
import { openSession, type Session } from './guest/session.ts'
import { spawnProgram } from './guest/spawn.ts'
import { type GuestAgent, openGuestAgent } from './guest-agent/guest-agent.ts'
import type { Machine } from './instance/running-guest.ts'

/** The ways into a guest: its shells, programs and files. */
export abstract class GuestAccess {
  /** The guest's terminal (hvc0, or a foreign guest's serial port), raw: for programs that talk. */
  readonly console: Console
  readonly #machine: Machine
  readonly #shell: Shell
  #sessions = 0
  #agent: GuestAgent | undefined

  constructor(machine: Machine, shell: Shell) {
    this.#machine = machine
    this.#shell = shell
    this.console = machine.console
  }

  /** Ends QEMU; see `Vm.stop`. */
  abstract stop(): Promise<void>

  /**
   * The QEMU guest agent of a guest of your own.
   *
   * @throws UsageError where the spec has no `agent: true`
   */
  get agent(): GuestAgent {
    const { guestAgent, where } = this.#machine
    if (guestAgent === undefined) {
      throw new UsageError(`${where.vm}: vm.agent: the VM has no port of the QEMU guest agent`, {
        hint: 'write agent: true in its spec, beside guest: { disk }; the default guest has vm.exec instead',
      })
    }
    this.#agent ??= openGuestAgent(this.#machine, () => this.stop())
    return this.#agent
  }

  /**
   * Types commands into the guest's shell, one after another, each once the one before it was met.
   *
   * @param expects what each command is to print, literally or as an expression; `''` expects nothing
   *   special: the command ends when the shell is back
   * @param timeouts how long each may take: milliseconds, or strings like `'5s'`; 30 s by default
   * @throws CommandTimeoutError naming the step that was not met in time; those behind it are not sent
   * @throws UsageError when the lists differ in length or a value is not what it should be
   */
  cmd(
    commands: string | readonly string[],
    expects?: Pattern | readonly Pattern[],
    timeouts?: Duration | readonly Duration[],
    options?: CmdOptions,
  ): Promise<CmdResult> {
    return atCallSite(this.cmd, async () => {
      const { noShell } = this.#machine
      if (noShell) throw noShell()
      return this.#shell.cmd(commands, expects, timeouts, options)
    })
  }

  /**
   * Runs one shell command in a subshell of a bash of the guest's, without a terminal and beside
   * whatever the console does. Bytes arrive exact, whatever they are and however many.
   *
   * @throws CommandTimeoutError when it has not ended in time; it is killed then
   * @throws CommandFailedError with `check: true`, when its status is not 0
   */
  exec(command: string, options?: ExecOptions): Promise<ExecResult> {
    return atCallSite(this.exec, () => exec(this.#machine, command, options))
  }

  /** A further independent shell in the same guest; closed with the test that opened it. */
  session(name = `session${++this.#sessions}`): Promise<Session> {
    return atCallSite(this.session, async () => {
      const session = await openSession(this.#machine, name)
      defer(() => session.close())
      return session
    })
  }

  /**
   * Starts an interactive program on a terminal of its own and waits for its prompt, if it has one.
   * It ends with the test that started it, or else with the VM.
   *
   * @throws GuestError when it ends, CommandTimeoutError when its prompt does not come in time
   */
  spawn(command: string, options: SpawnOptions = {}): Promise<Program> {
    return atCallSite(this.spawn, async () => {
      stopSignal(options.signal)?.throwIfAborted()
      const program = await spawnProgram(this.#machine, command, options)
      defer(() => program.close())
      return program
    })
  }

  /** Writes a file into the guest; checked by its SHA-256. Folders are made as needed. */
  copyIn(data: string | Uint8Array, path: string, { mode = 0o644 } = {}): Promise<void> {
    return atCallSite(this.copyIn, () => copyIn(this.#machine, data, path, mode))
  }

  /** Reads a file of the guest; checked by its SHA-256. */
  copyOut(path: string): Promise<Uint8Array> {
    return atCallSite(this.copyOut, () => copyOut(this.#machine, path))
  }
}
