import { Mutex } from 'async-mutex'
import { atCallSite } from '../call-site.ts'
import {
  asError,
  CommandTimeoutError,
  type DutError,
  GuestError,
  InfrastructureError,
} from '../errors.ts'
import { Lifeline } from '../lifeline.ts'
import { stopSignal } from '../scope.ts'
import { performance } from '../time.ts'
import { type Duration, parseDuration } from '../units.ts'
import { waitFor } from '../wait.ts'
import { Capture, tooMuchError } from './capture.ts'
import { Console } from './console.ts'
import { explained } from './explained.ts'
import { describePattern, type Pattern } from './pattern.ts'
import {
  type CmdOptions,
  type CmdResult,
  makeSteps,
  runSteps,
  type Step,
  type StepResult,
} from './steps.ts'
import type { ByteStream } from './stream.ts'

/** A terminal with a program on it, in a guest or on the host. */
export interface ProgramTerminal extends ByteStream {
  /** The program's status; rejects only where it could not be started. */
  readonly exited: Promise<number>
  /** Ends the terminal and everything on it. */
  close(): void
}

export interface SpawnOptions {
  /** What the program prints when it waits for a line, e.g. `'testpmd> '`. */
  prompt?: Pattern
  /** Time until the first prompt; 30 s where none is given. */
  timeout?: Duration
  signal?: AbortSignal
  /** Hears all that it prints, also where it never gets to its prompt. */
  onText?: (text: string) => void
}

export interface ProgramContext {
  vm?: string
  dut?: string
  /** Of the machine that the program runs on. */
  life?: Lifeline
  /** Says why a program ended with that status by itself, where more is known. */
  explain?: (status: number, elapsedMs: number) => Promise<string | undefined>
}

/** A status above it is that of a program that a signal ended. */
const SIGNALLED = 128

/** An interactive program that is typed into. */
export class Program {
  readonly command: string
  readonly console: Console
  /** Resolves with the program's status when it has ended. */
  readonly exited: Promise<number>
  readonly #terminal: ProgramTerminal
  readonly #prompt: Pattern
  readonly #turn = new Mutex()
  /** A command whose time was over before the prompt came; it comes first. */
  #busyWith: string | undefined
  #closing = false

  constructor(
    terminal: ProgramTerminal,
    command: string,
    { prompt = '', onText }: SpawnOptions,
    { life: parent, explain, ...where }: ProgramContext,
  ) {
    const startedAt = performance.now()
    this.command = command
    this.#terminal = terminal
    this.#prompt = prompt
    const life = new Lifeline(parent)
    this.console = new Console(terminal, { ...where, life })
    if (onText) this.console.subscribe({ text: onText })
    this.exited = terminal.exited
    this.exited.then(
      async (status) => {
        const isKilled = status > SIGNALLED && !this.#closing
        const hint = isKilled && (await explain?.(status, performance.now() - startedAt))
        life.end(this.#endedError(status, hint || undefined))
      },
      (error) => life.end(asError(error)),
    )
  }

  /** Whether it was asked to end. */
  get closing(): boolean {
    return this.#closing
  }

  /** Waits for the first prompt; nothing to wait for where no prompt was given. */
  async ready({ timeout = '30s', signal }: SpawnOptions = {}): Promise<void> {
    if (this.#prompt !== '') await this.console.expect(this.#prompt, timeout, { signal })
  }

  /**
   * Types lines one after another, each once what the one before it expected was printed. `''` (and
   * nothing) expects the program's prompt, which is left out of the output.
   *
   * @throws CommandTimeoutError when a line's expected text, or the prompt, has not come in time
   */
  async cmd(
    commands: string | readonly string[],
    expects?: Pattern | readonly Pattern[],
    timeouts?: Duration | readonly Duration[],
    { signal }: CmdOptions = {},
  ): Promise<CmdResult> {
    return atCallSite(this.cmd, async () => {
      const steps = makeSteps(commands, expects, timeouts)
      return this.#turn.runExclusive(() => runSteps(steps, (step) => this.#step(step, signal)))
    })
  }

  /** See `Console.expect`. */
  expect(pattern: Pattern, timeout?: Duration, options?: CmdOptions): Promise<string> {
    return this.console.expect(pattern, timeout, options)
  }

  /** Types Ctrl-C. */
  interrupt(): void {
    this.console.write('\x03')
  }

  /**
   * Types the line that ends the program, whatever it is at; resolves with its status.
   *
   * @throws CommandTimeoutError when it has not ended in time; `close` ends it by force
   */
  async end(line: string, { timeout = '10s' }: { timeout?: Duration } = {}): Promise<number> {
    this.#closing = true
    this.console.write(`${line}\n`)
    return waitFor(this.exited, {
      timeoutMs: parseDuration(timeout),
      onTimeout: (elapsedMs) => this.#timeoutError(line, `${this.#name} did not end`, elapsedMs),
    })
  }

  /** Ends the program and everything on its terminal; resolves when it is gone. */
  async close({ timeout = '10s' }: { timeout?: Duration } = {}): Promise<void> {
    this.#closing = true
    if (this.console.life.ended.aborted) return
    this.#terminal.close()
    await waitFor(
      this.exited.then(
        () => {},
        () => {},
      ),
      { timeoutMs: parseDuration(timeout), signal: this.console.life.ended },
    ).catch((error) => {
      if (!this.console.life.ended.aborted) throw error
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #step({ command, expect, timeoutMs }: Step, signal?: AbortSignal): Promise<StepResult> {
    const startedAt = performance.now()
    const awaited = expect === '' ? this.#prompt : expect
    if (this.#busyWith !== undefined && this.#prompt !== '') {
      await this.console.expect(this.#prompt, `${timeoutMs}ms`, { signal })
      this.#busyWith = undefined
    }
    this.console.skip()
    const met = Promise.withResolvers<void>()
    const onOver = () => met.reject(this.#tooMuchError(command))
    const capture = new Capture(awaited, { echo: `${command}\n`, onOver })
    const prompt = new Capture(this.#prompt, { echo: `${command}\n` })
    const unsubscribe = this.console.subscribe({
      text: (text) => {
        capture.push(text)
        prompt.push(text)
        if (capture.matched) met.resolve()
      },
    })
    try {
      this.console.write(`${command}\n`)
      if (awaited === '') met.resolve()
      await waitFor(met.promise, {
        timeoutMs,
        signal: stopSignal(this.console.life.signal, signal),
        onTimeout: (elapsedMs) =>
          this.#timeoutError(command, `${describePattern(awaited)} was not printed`, elapsedMs),
      })
    } catch (error) {
      if (!prompt.matched) this.#busyWith = command
      throw await explained(error, this.console.life)
    } finally {
      unsubscribe()
      this.console.skip()
    }
    const output = expect === '' ? capture.before : capture.text
    return { command, expect, output, durationMs: performance.now() - startedAt }
  }

  #timeoutError(command: string, missed: string, elapsedMs: number): CommandTimeoutError {
    const what = `${JSON.stringify(command)} in ${this.#name}: ${missed} in time`
    return new CommandTimeoutError(what, {
      ...this.console.where,
      command,
      elapsedMs,
      tail: this.console.tail(),
      hint: this.console.life.still?.hint,
    })
  }

  #tooMuchError(command: string): DutError {
    const details = { ...this.console.where, command, tail: this.console.tail() }
    return tooMuchError(`${JSON.stringify(command)} in ${this.#name}`, details)
  }

  #endedError(status: number, hint: string | undefined): DutError {
    const Family = this.console.where.vm === undefined ? InfrastructureError : GuestError
    return new Family(`${this.#name} has ended with status ${status}`, {
      ...this.console.where,
      command: this.command,
      tail: this.console.tail(),
      hint,
    })
  }

  get #name(): string {
    return this.command.length > 80 ? `${this.command.slice(0, 80)}…` : this.command
  }
}
