import { randomInt } from 'node:crypto'
import { Mutex } from 'async-mutex'
import { AbortController } from '../abort.ts'
import { outsideScope, stopSignal } from '../scope.ts'
import type { Duration } from '../units.ts'
import { type WaitOptions, waitFor } from '../wait.ts'
import { PromptAccount } from './account.ts'
import type { Console } from './console.ts'
import { explained } from './explained.ts'
import { heldError } from './held-error.ts'
import { isCutOff, isPlainLine, shellLines, shellQuote } from './line.ts'
import { MarkWaits } from './mark-waits.ts'
import { type Mark, setupLine } from './marks.ts'
import type { Pattern } from './pattern.ts'
import { ENDING_KEYS, KEY_PATIENCE_MS, KILL_KEY, SYNC_PATIENCE_MS } from './shell-keys.ts'
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

const isPrompt = (mark: Mark) => mark.kind === 'prompt'

/** A bash on a console, driven by commands and what they are expected to print. */
export class Shell {
  readonly console: Console
  readonly #account = new PromptAccount()
  readonly #turn = new Mutex()
  readonly #waits = new MarkWaits()
  #step: StepRun | undefined
  /** Runs after a step that was not met; resolves when the shell is back or has been given up. */
  #recovery: Promise<void> = Promise.resolve()
  /** Aborted when its machine goes back to an earlier state. */
  #era = new AbortController()
  /** The command whose program did not let go of the console. */
  #heldBy: string | undefined

  constructor(console: Console) {
    this.console = console
    console.subscribe({
      text: (text) => {
        this.#account.text()
        this.#step?.text(text)
      },
      mark: (mark) => this.#hear(mark),
      typed: (data) => {
        const lines = Buffer.from(data).toString().split('\n').length - 1
        for (let i = 0; i < lines; i++) this.#account.typed()
      },
    })
  }

  /** Resolves when the shell has announced itself and has been put under the protocol. */
  async ready({ timeoutMs, signal }: { timeoutMs?: number; signal?: AbortSignal } = {}) {
    if (!this.#account.atPrompt) await this.#mark(isPrompt, { timeoutMs, signal })
    this.console.skip()
  }

  /**
   * Puts a shell under this console that waits at a prompt of another one, from which its machine was
   * cloned. What lies half typed is taken back, lines that lie there are run first. What bash made once
   * at its start, and clones would share, is made anew.
   *
   * @param hostname of the clone; the shell's own where none is given
   */
  async adopt({ hostname, secret, timeoutMs, signal }: AdoptOptions): Promise<void> {
    const { marks } = this.console
    if (secret !== undefined) marks.secret = secret
    const name = hostname === undefined ? '' : `HOSTNAME=${shellQuote(hostname)} `
    // No marks are set up anew: a console reads 16 bytes at a time, and this is in each clone's way.
    const line = `${KILL_KEY}${name}RANDOM=${randomInt(2 ** 31)} ${marks.probeLine()}`
    await this.#sync(line, { timeoutMs, signal })
    this.console.skip()
  }

  /** Runs `fn` while no command is typed and none is under way. */
  hold<T>(fn: () => Promise<T>): Promise<T> {
    return this.#turn.runExclusive(fn)
  }

  /** What is known of the shell now; for {@link back}. */
  save(): ShellState {
    const prompts = this.console.marks.count
    return { account: this.#account.save(), prompts, heldBy: this.#heldBy }
  }

  /**
   * Takes its machine back to an earlier state, or else to its boot: what is under way and what waits
   * to be typed fails with `reason`, then `load` is run, and the shell is what it was.
   */
  async back(
    state: ShellState | undefined,
    { reason, load, ...options }: { reason: Error; load(): Promise<void> } & WaitOptions,
  ): Promise<void> {
    this.#era.abort(reason)
    this.#era = new AbortController()
    await this.#turn.runExclusive(async () => {
      // Until the machine stands still, the old shell may say that it is back.
      const begun = state ? undefined : this.#mark((mark) => mark.kind === 'banner', options)
      begun?.catch(() => {}) // where the machine cannot be loaded, nobody looks at it
      await load()
      this.#heldBy = state?.heldBy
      this.#recovery = Promise.resolve()
      if (!state) return begun?.then(() => this.ready(options))
      this.#account.restore(state.account)
      this.console.marks.count = state.prompts
      if (this.#account.atPrompt) await this.adopt(options)
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
    const stop = stopSignal(this.console.life.signal, this.#era.signal, signal)
    return this.#turn.runExclusive(async () => {
      const result = await runSteps(steps, (step, i) => {
        const title = steps.length === 1 ? '' : `step ${i + 1} of ${steps.length}, `
        return this.#run(step, title, stop)
      })
      this.console.skip()
      return result
    })
  }

  async #run(step: Step, title: string, signal?: AbortSignal): Promise<StepResult> {
    const era = this.#era.signal
    await waitFor(this.#recovery, { signal })
    if (this.#heldBy !== undefined) await this.#takeBack(this.#heldBy, step)
    const run = new StepRun(step, {
      title,
      console: this.console,
      probe: () => this.#account.probing || this.#probe(),
    })
    this.#step = run
    try {
      return await waitFor(
        this.#type(step.command, run).then(() => run.result),
        {
          timeoutMs: step.timeoutMs,
          signal,
          onTimeout: (elapsedMs) => run.timeoutError(elapsedMs),
        },
      )
    } catch (error) {
      const isLeft = !this.#account.atPrompt && !run.shellEnded && !era.aborted
      if (isLeft && !this.console.life.ended.aborted) this.#recover(step.command)
      throw await explained(error, this.console.life)
    } finally {
      this.#step = undefined
    }
  }

  async #type(command: string, run: StepRun): Promise<void> {
    // The step before may have been met by what its command printed last.
    if (isCutOff(command) && this.#account.running) await this.#mark(isPrompt)
    if (this.#step !== run) return // its time was over meanwhile: nothing is typed any more
    if (!isPlainLine(command) && this.#account.inDoubt) await this.#sync()
    const { atPrompt } = this.#account
    const lines = atPrompt ? shellLines(command) : [`${command}\n`]
    for (const line of lines.slice(0, -1)) {
      if (this.#step !== run) return
      await this.#ask(line, (mark) => mark.kind === 'more')
    }
    if (this.#step !== run) return
    this.#account.typed()
    run.typed(atPrompt)
    this.console.send(lines.at(-1) ?? '\n')
  }

  #probe(): void {
    this.#account.probed()
    this.console.send(this.console.marks.probeLine())
  }

  /** Resolves when the shell has read everything that was typed and waits for a line. */
  async #sync(line = this.console.marks.probeLine(), options: WaitOptions = {}): Promise<void> {
    this.#account.probed()
    const isAnswer = (mark: Mark) => mark.kind === 'banner' || (isPrompt(mark) && mark.isAnswer)
    const { kind } = await this.#ask(line, isAnswer, options)
    // It has ended and will not answer; of the next one any prompt will do.
    if (kind === 'banner') await this.#mark(isPrompt, options)
  }

  #hear(mark: Mark): void {
    if (mark.kind === 'banner') {
      this.#account.restart()
      this.#heldBy = undefined
      this.console.send(setupLine(this.console.marks.secret))
    } else if (mark.kind === 'prompt') {
      this.#account.prompt(mark)
    }
    this.#step?.mark(mark)
    this.#waits.hear(mark)
  }

  /** Types `data`; the next mark that is wanted. */
  async #ask(data: string, wanted: (mark: Mark) => boolean, options: WaitOptions = {}) {
    const mark = this.#mark(wanted, options)
    mark.catch(() => {}) // typing may fail, and then nobody looks at it
    this.console.send(data)
    return mark
  }

  /** The next mark that is wanted. */
  #mark(wanted: (mark: Mark) => boolean, options: WaitOptions = {}): Promise<Mark> {
    const signal = stopSignal(this.console.life.signal, this.#era.signal, options.signal)
    return this.#waits.next(wanted, { ...options, signal })
  }

  /** Ends what a step left running, so that the console is of use again; never rejects. */
  #recover(command: string): void {
    this.#heldBy = command
    // Not in the scope of the test whose step it was: that has ended, and so would every wait in it.
    const era = this.#era.signal
    this.#recovery = outsideScope(async () => {
      await this.console.life.moving
      for (const key of ENDING_KEYS) {
        if (era.aborted) return
        const patience = { timeoutMs: KEY_PATIENCE_MS }
        try {
          await this.#ask(key, isPrompt, patience)
          // A bash that was just starting a program may have lost sight of it, and wait for it all the same.
          await this.#sync(undefined, patience)
          this.#heldBy = undefined
          return
        } catch {} // the next key
      }
    }).catch(() => {})
  }

  /** A console that was given up is of use again if its program has ended since. */
  async #takeBack(heldBy: string, { command }: Step): Promise<void> {
    if (this.#account.atPrompt || this.#account.inDoubt) {
      await this.#sync(undefined, { timeoutMs: SYNC_PATIENCE_MS })
      this.#heldBy = undefined
      return
    }
    throw heldError(this.console, heldBy, command)
  }
}
