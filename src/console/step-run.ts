import { CommandTimeoutError, GuestError } from '../errors.ts'
import { performance } from '../time.ts'
import { Capture, tooMuchError, withoutEcho } from './capture.ts'
import type { Console } from './console.ts'
import { echoesOf, isCutOff } from './line.ts'
import type { Mark, Prompt } from './marks.ts'
import { describePattern } from './pattern.ts'
import type { Step, StepResult } from './steps.ts'

interface StepContext {
  /** `step 2 of 3, `, or nothing where there is one step only. */
  title: string
  console: Console
  /** Asks the shell for a sign that it has read everything typed so far. */
  probe: () => unknown
}

/** The line that was typed for a step. */
interface Typed {
  /** The terminal may repeat it; then it is neither output nor a match. */
  line: string
  /** The number of the last line that is answered by a mark, this one or one before it. */
  at: number
  /** A mark is to tell where the output begins. */
  begins?: boolean
  /** A command at a prompt; else a line into whatever reads it. */
  atPrompt: boolean
}

/** So many characters of a line are hardly ever printed but by a terminal that repeats it. */
const ECHO_SIGN = 16

/** One step under way: what it printed, and whether it is met. */
export class StepRun {
  /** Resolves when the step is met; its deadline is the caller's. */
  readonly result: Promise<StepResult>
  readonly step: Step
  readonly #context: StepContext
  readonly #capture: Capture
  readonly #settle = Promise.withResolvers<StepResult>()
  readonly #startedAt = performance.now()
  #typed: 'not yet' | 'at a prompt' | 'into a program' = 'not yet'
  #line = ''
  #at = 0
  /** Text before the mark at which the output begins. */
  #before: string | undefined
  /** The terminal repeated the line that was typed. */
  #isEchoed = false
  /** The shell itself went away under the step. */
  shellEnded = false
  #shellIsBack = false
  /** The end of a line that was typed earlier. */
  #outer: Prompt | undefined
  /** Text before the mark of the line before, and that mark. */
  #ended: { output: string; exitCode: number; line: number } | undefined

  constructor(step: Step, context: StepContext) {
    this.step = step
    this.#context = context
    const onOver = () => this.#settle.reject(tooMuchError(this.#name, this.#details()))
    this.#capture = new Capture(step.expect, { onOver })
    this.result = this.#settle.promise
    this.result.catch(() => {}) // whoever waits has the deadline beside it and may have left
  }

  /** True where the terminal repeats what is typed; undefined where that cannot be told. */
  get isEchoed(): boolean | undefined {
    return this.#typed === 'at a prompt' ? this.#isEchoed || this.#capture.isEchoed : undefined
  }

  /** It is the shell's, and was typed at its prompt. */
  get isCommand(): boolean {
    return this.#typed === 'at a prompt'
  }

  /** The step's last line is typed now; what came before was not printed by it. */
  typed({ line, at, begins = false, atPrompt }: Typed): void {
    this.#typed = atPrompt ? 'at a prompt' : 'into a program'
    this.#line = line
    this.#at = at
    this.#before = begins ? '' : undefined
    this.#capture.clear({ echo: begins ? '' : line })
  }

  text(text: string): void {
    if (this.#typed === 'not yet') return
    if (this.#before !== undefined) {
      this.#before += text
      return
    }
    this.#capture.push(text)
    if (this.#capture.matched) this.#met(this.#capture.text)
  }

  /** @param line how many lines the shell has read by now */
  mark(mark: Mark, line: number): void {
    if (mark.kind === 'banner') {
      this.shellEnded = true
      this.#settle.reject(this.#endedError())
    } else if (this.#typed === 'not yet') return
    else if (mark.kind === 'begin') {
      if (mark.at === this.#at && this.#before !== undefined) this.#begin()
    } else this.#prompt(mark, line)
  }

  #begin(): void {
    const seen = echoedPart(this.#before ?? '', this.#line)
    this.#isEchoed = seen > 0
    this.#before = undefined
    // The last of what a terminal repeats may come when the shell has read the line already.
    this.#capture.clear({ echo: seen > 0 ? this.#line.slice(seen) : '' })
  }

  #prompt(mark: Prompt, line: number): void {
    if (this.step.expect !== '') {
      this.#shellIsBack = this.#typed === 'at a prompt'
    } else if (this.#typed === 'at a prompt') {
      this.#shellsPrompt(mark)
    } else if (mark.isAnswer && mark.at <= this.#at) {
      this.#context.probe() // it was typed before the line, and says nothing of it
    } else if (!mark.isAnswer) {
      this.#ended = { output: this.#capture.text, exitCode: mark.status, line }
      this.#capture.clear()
      this.#context.probe()
    } else if (this.#ended && line - this.#ended.line < 2) {
      this.#met(this.#ended.output, this.#ended.exitCode) // a program has read the line
    } else this.#met(this.#capture.text, mark.status)
  }

  #shellsPrompt(mark: Prompt): void {
    if (mark.at === this.#at) {
      this.#met(withoutTrace(this.#capture.text, this.#line), mark.status)
    } else if (mark.at < this.#at && !mark.isAnswer) {
      // The shell that was typed into has ended, or an answer is late: what comes next tells.
      this.#outer ??= mark
      this.#context.probe()
    } else if (mark.at > this.#at && mark.isAnswer) this.#lost(mark)
  }

  /** Another shell has answered than the one that the command was typed into, or that gave up its line. */
  #lost(answer: Prompt): void {
    const { status, isNoisy } = this.#outer ?? answer
    const { text } = this.#capture
    this.#met(isNoisy ? text.slice(0, text.lastIndexOf('\n') + 1) : text, status)
  }

  #met(output: string, exitCode?: number): void {
    const { command, expect } = this.step
    this.#settle.resolve({
      command,
      expect,
      output: withoutEcho(output, command),
      ...(exitCode === undefined ? {} : { exitCode }),
      durationMs: performance.now() - this.#startedAt,
    })
  }

  timeoutError(elapsedMs: number): CommandTimeoutError {
    const { expect } = this.step
    const missing =
      expect === ''
        ? 'the shell did not come back in time'
        : `expected ${describePattern(expect)}, which was not printed in time`
    const hint = this.#shellIsBack
      ? `the command had ended: to wait for the end of a command, expect ''`
      : 'nothing was typed: a program that has the console takes lines of 4095 bytes at most'
    const isHeldBack = this.#typed === 'not yet' && isCutOff(this.step.command)
    const { still } = this.#context.console.life
    return new CommandTimeoutError(`${this.#name}: ${missing}`, {
      ...this.#details(),
      elapsedMs,
      ...((this.#shellIsBack || isHeldBack) && { hint }),
      ...(still && { hint: still.hint }),
    })
  }

  /** A shell has the terminal to which no command can be typed. */
  foreign(name: string): void {
    const error = new GuestError(
      `${this.#name}: a shell that is no bash has the console: ${name}`,
      {
        ...this.#details(),
        hint: 'run commands in it by its option -c, or type to it by vm.console; commands here are for bash',
      },
    )
    this.#settle.reject(error)
  }

  unfinishedError(): GuestError {
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
    return `${this.#context.title}${JSON.stringify(this.step.command.slice(0, 200))}`
  }

  #details() {
    const { console } = this.#context
    const tail = this.#before ?? this.#capture.printed
    return { ...console.where, command: this.step.command, tail }
  }
}

/** How many characters of `line` stand in `text` as the terminal repeated them; 0 where it did not. */
function echoedPart(text: string, line: string): number {
  const from = text.lastIndexOf(line.slice(0, ECHO_SIGN))
  if (from === -1) return 0
  let length = ECHO_SIGN
  while (length < line.length && text[from + length] === line[length]) length++
  return length
}

/**
 * `output` without the lines that show the mark's own text: a shell that begins to trace or to repeat what
 * it reads does so before it can be told.
 */
function withoutTrace(output: string, line: string): string {
  const own = /(?:\\036|\x1e)(\w+[:=])/.exec(line)?.[1]
  if (own === undefined || !output.includes(own)) return output
  const ends = echoesOf(line.slice(-ECHO_SIGN)).map((end) => end.trimEnd())
  return output
    .split('\n')
    .flatMap((text) => {
      if (!text.includes(`\\036${own}`) && !text.includes(`^^${own}`)) return [text]
      // An echo in raw mode may have no line end of its own.
      const end = ends.findLast((one) => text.includes(one)) ?? text
      const rest = text.slice(text.lastIndexOf(end) + end.length)
      return rest === '' ? [] : [rest]
    })
    .join('\n')
}
