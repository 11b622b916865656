import { CommandTimeoutError, GuestError } from '../errors.ts'
import { performance } from '../time.ts'
import { Capture, tooMuchError, withoutEcho } from './capture.ts'
import type { Console } from './console.ts'
import { isCutOff } from './line.ts'
import type { Mark } from './marks.ts'
import { describePattern } from './pattern.ts'
import type { Step, StepResult } from './steps.ts'

interface StepContext {
  /** `step 2 of 3, `, or nothing where there is one step only. */
  title: string
  console: Console
  /** Asks the shell for a sign that it has read everything typed so far. */
  probe: () => unknown
}

/** One step under way: what it printed, and whether it is met. */
export class StepRun {
  /** Resolves when the step is met; its deadline is the caller's. */
  readonly result: Promise<StepResult>
  readonly #step: Step
  readonly #context: StepContext
  readonly #capture: Capture
  readonly #settle = Promise.withResolvers<StepResult>()
  readonly #startedAt = performance.now()
  #typed: 'not yet' | 'at a prompt' | 'into a program' = 'not yet'
  /** The shell itself went away under the step. */
  shellEnded = false
  #shellIsBack = false
  /** What stood before the last prompt, and its status. */
  #ended: { output: string; exitCode: number } | undefined

  constructor(step: Step, context: StepContext) {
    this.#step = step
    this.#context = context
    const onOver = () => this.#settle.reject(tooMuchError(this.#name, this.#details()))
    this.#capture = new Capture(step.expect, { onOver })
    this.result = this.#settle.promise
    this.result.catch(() => {}) // whoever waits has the deadline beside it and may have left
  }

  /** The step's last line is typed now; what came before was not printed by it. */
  typed(atPrompt: boolean): void {
    this.#typed = atPrompt ? 'at a prompt' : 'into a program'
    this.#capture.clear()
  }

  text(text: string): void {
    this.#capture.push(text)
    if (this.#typed !== 'not yet' && this.#capture.matched) this.#met(this.#capture.text)
  }

  mark(mark: Mark): void {
    if (mark.kind === 'banner') {
      this.shellEnded = true
      this.#settle.reject(this.#endedError())
    } else if (this.#typed === 'not yet') return
    else if (mark.kind === 'prompt') this.#prompt(mark)
    else if (this.#step.expect === '') this.#settle.reject(this.#unfinished())
  }

  #prompt({ status, isAnswer }: { status: number; isAnswer: boolean }): void {
    if (this.#step.expect !== '') {
      this.#shellIsBack = this.#typed === 'at a prompt'
    } else if (isAnswer) {
      this.#met(this.#ended?.output ?? '', this.#ended?.exitCode)
    } else {
      this.#ended = { output: this.#capture.text, exitCode: status }
      this.#capture.clear()
      if (this.#typed === 'at a prompt') this.#met(this.#ended.output, status)
      else this.#context.probe()
    }
  }

  #met(output: string, exitCode?: number): void {
    const { command, expect } = this.#step
    this.#settle.resolve({
      command,
      expect,
      output: withoutEcho(output, command),
      ...(exitCode === undefined ? {} : { exitCode }),
      durationMs: performance.now() - this.#startedAt,
    })
  }

  timeoutError(elapsedMs: number): CommandTimeoutError {
    const { expect } = this.#step
    const missing =
      expect === ''
        ? 'the shell did not come back in time'
        : `expected ${describePattern(expect)}, which was not printed in time`
    const hint = this.#shellIsBack
      ? `the command had ended: to wait for the end of a command, expect ''`
      : 'nothing was typed: a program that has the console takes lines of 4095 bytes at most'
    const isHeldBack = this.#typed === 'not yet' && isCutOff(this.#step.command)
    const { still } = this.#context.console.life
    return new CommandTimeoutError(`${this.#name}: ${missing}`, {
      ...this.#details(),
      elapsedMs,
      ...((this.#shellIsBack || isHeldBack) && { hint }),
      ...(still && { hint: still.hint }),
    })
  }

  #unfinished(): GuestError {
    return new GuestError(`${this.#name}: the shell waits for the rest of the command`, {
      ...this.#details(),
      hint: 'close the quote, loop or here-document, or give the whole of it as one command',
    })
  }

  #endedError(): GuestError {
    return new GuestError(`${this.#name}: the shell ended, and a new one was started`, {
      ...this.#details(),
      hint: 'run what ends the shell (exit, exec, set -e) in a subshell: ( … )',
    })
  }

  get #name(): string {
    return `${this.#context.title}${JSON.stringify(this.#step.command.slice(0, 200))}`
  }

  #details() {
    const { console } = this.#context
    return { ...console.where, command: this.#step.command, tail: this.#capture.printed }
  }
}
