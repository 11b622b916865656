import { randomInt } from 'node:crypto'
import { Mutex } from 'async-mutex'
import { AbortController } from '../abort.ts'
import { stopSignal } from '../scope.ts'
import type { Duration } from '../units.ts'
import { type WaitOptions, waitFor } from '../wait.ts'
import type { Console } from './console.ts'
import { explained } from './explained.ts'
import type { LookAside } from './foreground.ts'
import { isCutOff, isPlainLine, shellQuote } from './line.ts'
import type { Pattern } from './pattern.ts'
import { foreseen, mannerFor } from './shell-facts.ts'
import { KILL_KEY, SYNC_PATIENCE_MS } from './shell-keys.ts'
import { isPrompt, ShellLine } from './shell-line.ts'
import { ShellRescue } from './shell-rescue.ts'
import type { AdoptOptions, ShellState } from './shell-state.ts'
import { StepRun } from './step-run.ts'
import {
  type CmdOptions,
  type CmdResult,
  makeSteps,
  runSteps,
  type Step,
  type StepResult,
} from './steps.ts'
import { endsInBackslash, looksUnfinished, mayBeUnfinished } from './unfinished.ts'

/** How long a shell that prints at its prompt may take from an expected text to the end of its line. */
const NOISY_END_MS = 200
/** Given, because Node makes an exception with a stack where no reason is. */
const OVER = new Error('the step is over')

export interface ShellOptions {
  /** Runs a script beside the console, so that the kernel can be asked who has the terminal. */
  lookAside?: LookAside
}

/** A bash on a console, driven by commands and what they are expected to print. */
export class Shell {
  readonly console: Console
  readonly #line: ShellLine
  readonly #rescue: ShellRescue
  readonly #turn = new Mutex()

  constructor(console: Console, { lookAside }: ShellOptions = {}) {
    this.console = console
    this.#line = new ShellLine(console)
    this.#rescue = new ShellRescue(this.#line, lookAside)
  }

  /** Resolves when the shell has announced itself and has answered. */
  async ready({ timeoutMs, signal }: { timeoutMs?: number; signal?: AbortSignal } = {}) {
    if (!this.#line.account.atPrompt) await this.#line.mark(isPrompt, { timeoutMs, signal })
    this.console.skip()
  }

  /**
   * Puts a shell under this console that waits at a prompt of another one, from which its machine was
   * cloned. What lies half typed is taken back, lines that lie there are run first. What bash made once
   * at its start, and clones would share, is made anew.
   *
   * @param hostname of the clone; the shell's own where none is given
   */
  async adopt({ hostname, isPlain, timeoutMs, signal }: AdoptOptions): Promise<void> {
    const name = hostname === undefined ? '' : `HOSTNAME=${shellQuote(hostname)} `
    const before = `${name}RANDOM=${randomInt(2 ** 31)}`
    await this.#line.sync({ keys: KILL_KEY, before, isShort: isPlain, timeoutMs, signal })
    this.console.skip()
  }

  /** Runs `fn` while no command is typed and none is under way. */
  hold<T>(fn: () => Promise<T>): Promise<T> {
    return this.#turn.runExclusive(fn)
  }

  /** What is known of the shell now; for {@link back}. */
  save(): ShellState {
    const lines = this.console.marks.pending
    return {
      account: this.#line.account.save(),
      lines,
      facts: this.#line.facts,
      heldBy: this.#line.heldBy,
    }
  }

  /**
   * Takes its machine back to an earlier state, or else to its boot: what is under way and what waits
   * to be typed fails with `reason`, then `load` is run, and the shell is what it was.
   */
  async back(
    state: ShellState | undefined,
    { reason, load, ...options }: { reason: Error; load(): Promise<void> } & WaitOptions,
  ): Promise<void> {
    this.#line.startOver(reason)
    await this.#turn.runExclusive(async () => {
      // Until the machine stands still, the old shell may say that it is back.
      const begun = state ? undefined : this.#line.mark((mark) => mark.kind === 'banner', options)
      begun?.catch(() => {}) // where the machine cannot be loaded, nobody looks at it
      await load()
      this.#line.heldBy = state?.heldBy
      this.#rescue.done = undefined
      if (!state) return begun?.then(() => this.ready(options))
      this.#line.account.restore(state.account)
      this.#line.facts = state.facts
      this.console.marks.pending = state.lines
      const isPlain = mannerFor('true', state.facts).isQuick
      if (this.#line.account.atPrompt) await this.adopt({ isPlain, ...options })
      this.console.skip()
    })
  }

  /** See `Vm.cmd`: types commands one after another, each once the one before it was met. */
  async cmd(
    commands: string | readonly string[],
    expects?: Pattern | readonly Pattern[],
    timeouts?: Duration | readonly Duration[],
    { signal }: CmdOptions = {},
  ): Promise<CmdResult> {
    const steps = makeSteps(commands, expects, timeouts)
    const stop = stopSignal(this.#line.era.signal, signal)
    return this.#turn.runExclusive(async () => {
      const result = await runSteps(steps, (step, i) => {
        const title = steps.length === 1 ? '' : `step ${i + 1} of ${steps.length}, `
        return this.#run(step, { title, isFirst: i === 0, signal: stop })
      })
      this.console.skip()
      return result
    })
  }

  async #run(
    step: Step,
    { title, isFirst, signal }: { title: string; isFirst: boolean; signal?: AbortSignal },
  ): Promise<StepResult> {
    const era = this.#line.era
    signal?.throwIfAborted()
    const run = new StepRun(step, {
      title,
      console: this.console,
      probe: () => this.#line.account.probing || this.#line.probe(),
    })
    await this.#free(run, signal)
    this.#line.step = run
    const over = new AbortController()
    try {
      const typed = this.#type(step, run, isFirst).then(() => {
        this.#rescue.watch(run, over.signal)
        return run.result
      })
      return await waitFor(
        typed.then((result) => this.#checked(result, run)),
        {
          timeoutMs: step.timeoutMs,
          signal,
          onTimeout: (elapsedMs) => run.timeoutError(elapsedMs),
        },
      )
    } catch (error) {
      const isLeft = !this.#line.account.atPrompt && !run.shellEnded
      if (isLeft && !era.ended.aborted) this.#rescue.recover(step.command)
      throw await explained(error, this.console.life)
    } finally {
      over.abort(OVER)
      this.#line.endStep()
    }
  }

  /** Waits until the command before has let go of the console. */
  async #free(run: StepRun, signal?: AbortSignal): Promise<void> {
    const { timeoutMs, command } = run.step
    const { life } = this.console
    if (this.#rescue.done) {
      await waitFor(this.#rescue.done, {
        timeoutMs: life.still ? timeoutMs : Math.max(timeoutMs, SYNC_PATIENCE_MS),
        signal,
        onTimeout: (elapsedMs) => run.timeoutError(elapsedMs),
      })
    }
    await this.#rescue.takeBack(command)
  }

  async #type({ command, expect }: Step, run: StepRun, isFirst: boolean): Promise<void> {
    await this.#settle({ command, expect, isFirst })
    if (this.#line.step !== run) return // its time was over meanwhile: nothing is typed any more
    if (this.#line.account.atPrompt) return this.#typeCommand(command, run)
    this.#line.account.typedPlain()
    const line = `${command}\n`
    const at = this.console.marks.typed
    run.typed({ line: this.#line.facts.isEchoed ? line : '', at, atPrompt: false })
    this.console.send(line)
    if (expect === '' && !this.#line.account.awaited && !this.#line.account.probing)
      this.#line.probe()
  }

  /** Waits for what has to be known before a line is typed that the shell or a program may read. */
  async #settle({
    command,
    expect,
    isFirst,
  }: Pick<Step, 'command' | 'expect'> & { isFirst: boolean }) {
    const account = this.#line.account
    if (isFirst && account.probing) await this.#line.mark(this.#line.isAnswer)
    // The step before may have been met by what its command printed last.
    if (account.running && account.awaited) {
      if (isCutOff(command)) await this.#line.mark(isPrompt)
      else if (this.#line.isLoud) {
        await this.#line.mark(isPrompt, { timeoutMs: NOISY_END_MS }).catch(() => {})
      }
    }
    if (account.atPrompt || account.awaited) return
    const isForShell = isFirst && (account.inDoubt || expect === '')
    if (isForShell || !isPlainLine(command)) await this.#line.sync()
  }

  async #typeCommand(command: string, run: StepRun): Promise<void> {
    if (endsInBackslash(command)) throw run.unfinishedError()
    if (looksUnfinished(command) && (await this.#line.isUnfinished(command))) {
      throw run.unfinishedError()
    }
    if (run.shellEnded) return
    this.#line.facts = foreseen(this.#line.facts, command)
    const manner = mannerFor(command, this.#line.facts)
    const lines = this.#line.linesOf(command, manner)
    const last = lines.pop()
    for (const line of lines) {
      if (this.#line.step !== run || run.shellEnded) return
      await this.#line.ask(line)
    }
    if (this.#line.step !== run || run.shellEnded || last === undefined) return
    const at = this.console.marks.typed + 1
    run.typed({ line: last.text, at, begins: manner.isCareful, atPrompt: true })
    this.#line.run(last, command)
  }

  /** Rejects where the shell's parser had no whole command. */
  async #checked(result: StepResult, run: StepRun): Promise<StepResult> {
    const { command, expect } = run.step
    const isShells = expect === '' && run.isCommand && this.#line.account.atPrompt
    if (!isShells || !mayBeUnfinished(command, result.exitCode)) return result
    if (await this.#line.isUnfinished(command)) throw run.unfinishedError()
    return result
  }
}
