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
import { Answer, describePrompt } from './answer.ts'
import { Capture, tooMuchError } from './capture.ts'
import { Console } from './console.ts'
import { explained } from './explained.ts'
import { describePattern, type Pattern } from './pattern.ts'
import type { ProgramContext, ProgramTerminal, SpawnOptions } from './program-options.ts'
import { CutPrompt } from './prompt.ts'
import {
  type CmdOptions,
  type CmdResult,
  makeSteps,
  runSteps,
  type Step,
  type StepResult,
} from './steps.ts'

export type { ProgramContext, ProgramTerminal, SpawnOptions }

/** A status above it is that of a program that a signal ended. */
const SIGNALLED = 128

/** An interactive program that is typed into. */
export class Program {
  readonly command: string
  readonly console: Console
  /** Resolves with the program's status when it has ended. */
  readonly exited: Promise<number>
  readonly #terminal: ProgramTerminal
  readonly #prompt: Pattern | CutPrompt
  readonly #stderr: 'merged' | 'apart'
  readonly #turn = new Mutex()
  /** The output since the last line was typed. */
  #answer: Answer
  /** The last step failed before its prompt came: the next one waits for that first. */
  #isLate = false
  #closing = false

  constructor(
    terminal: ProgramTerminal,
    command: string,
    { prompt = '', stderr = 'merged', onText }: SpawnOptions,
    { life: parent, explain, ...where }: ProgramContext,
  ) {
    const startedAt = performance.now()
    this.command = command
    this.#terminal = terminal
    this.#prompt = prompt
    this.#stderr = stderr
    const life = new Lifeline(parent)
    this.console = new Console(terminal, { ...where, life })
    this.#answer = new Answer(this.#prompt)
    this.console.subscribe({ text: (text, source) => this.#answer.push(text, source) })
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
    if (this.#prompt === '') return this.#answer.forget()
    if (this.#stderr === 'merged' && !(this.#prompt instanceof CutPrompt)) {
      await this.console.expect(this.#prompt, timeout, { signal })
      return this.#answer.forget()
    }
    await this.#wait(
      this.#answer.prompted,
      parseDuration(timeout, 'timeout'),
      signal,
      (elapsedMs) => this.#lateError(`${describePrompt(this.#prompt)} was not printed`, elapsedMs),
    )
    this.#answer.forget()
    this.console.skip()
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
      onTimeout: (elapsedMs) =>
        this.#lateError(
          `${JSON.stringify(line)} in ${this.#name}: ${this.#name} did not end in time`,
          elapsedMs,
          line,
        ),
    })
  }

  /** Ends the program and everything on its terminal; resolves when it is gone. */
  async close({ timeout = '10s' }: { timeout?: Duration } = {}): Promise<void> {
    this.#closing = true
    if (this.console.life.ended.aborted) return
    this.#terminal.close()
    const gone = this.exited.catch(() => {})
    const options = { timeoutMs: parseDuration(timeout), signal: this.console.life.ended }
    await waitFor(gone, options).catch((error) => {
      if (!this.console.life.ended.aborted) throw error
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #step({ command, expect, timeoutMs }: Step, signal?: AbortSignal): Promise<StepResult> {
    const startedAt = performance.now()
    const isForPrompt = expect === ''
    const late = (elapsedMs: number) => {
      const missed = isForPrompt ? describePrompt(this.#prompt) : describePattern(expect)
      const what = `${JSON.stringify(command)} in ${this.#name}: ${missed} was not printed in time`
      return this.#lateError(what, elapsedMs, command)
    }
    if (this.#isLate) await this.#wait(this.#answer.prompted, timeoutMs, signal, late)
    this.#isLate = false
    this.console.skip()
    const answer = new Answer(this.#prompt, command)
    const met = Promise.withResolvers<void>()
    const onOver = () => met.reject(this.#tooMuchError(command))
    const capture = new Capture(expect, { echo: `${command}\n`, onOver })
    const unsubscribe = this.console.subscribe({
      text: (text, source) => {
        if (source === 'terminal') capture.push(text)
        if (capture.matched) met.resolve()
      },
    })
    try {
      this.#answer = answer
      this.console.write(`${command}\n`)
      if (isForPrompt && this.#prompt === '') met.resolve()
      await this.#wait(
        isForPrompt ? Promise.race([answer.prompted, met.promise]) : met.promise,
        timeoutMs,
        signal,
        late,
      )
    } catch (error) {
      this.#isLate = this.#prompt !== '' && !answer.isPrompted
      answer.forget()
      throw await explained(error, this.console.life)
    } finally {
      unsubscribe()
      this.console.skip()
    }
    const { stderr } = answer
    const output = isForPrompt ? answer.output : capture.text
    answer.forget()
    const durationMs = performance.now() - startedAt
    return { command, expect, output, ...(this.#stderr === 'apart' && { stderr }), durationMs }
  }

  #wait(
    met: Promise<void>,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    onTimeout: (elapsedMs: number) => CommandTimeoutError,
  ): Promise<void> {
    const stop = stopSignal(this.console.life.signal, signal)
    return waitFor(met, { timeoutMs, signal: stop, onTimeout })
  }

  #lateError(what: string, elapsedMs: number, command?: string): CommandTimeoutError {
    return new CommandTimeoutError(what, {
      ...this.console.where,
      ...(command !== undefined && { command }),
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
