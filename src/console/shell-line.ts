import { Lifeline } from '../lifeline.ts'
import { stopSignal } from '../scope.ts'
import type { WaitOptions } from '../wait.ts'
import { PromptAccount } from './account.ts'
import type { Console } from './console.ts'
import { MarkWaits } from './mark-waits.ts'
import type { Mark, Prompt } from './marks.ts'
import { heard, mannerFor, NEW_SHELL, type ShellFacts } from './shell-facts.ts'
import type { StepRun } from './step-run.ts'
import { commandLines, type Manner, probeLine, quickProbe, type TypedLine } from './typed.ts'
import { verdictOn } from './unfinished.ts'

export const isPrompt = (mark: Mark) => mark.kind === 'prompt'

export interface SyncOptions extends WaitOptions {
  /** Typed first. */
  keys?: string
  /** Run first. */
  before?: string
  /** Nothing in the shell keeps a mark of few bytes from being right. */
  isShort?: boolean
}

/** The dialogue with a shell: lines that are typed, their answers, and what these tell of the shell. */
export class ShellLine {
  readonly console: Console
  readonly account = new PromptAccount()
  facts: ShellFacts = NEW_SHELL
  /** The shells that have answered here, one within another. */
  pids: number[] = []
  /** Hears all that comes, while it is under way. */
  step: StepRun | undefined
  /** The command whose program did not let go of the console. */
  heldBy: string | undefined
  /** Counts what was heard. */
  heard = 0
  readonly #waits = new MarkWaits()
  #era: Lifeline
  /** The last command that was typed; of a short mark it tells the rest. */
  #typed = ''
  /** The number of the command that was typed and whose end was not told. */
  #open: number | undefined
  /** The number of the last probe: the answers to those before it say nothing. */
  #probe = 0
  /** A banner came meanwhile: whose it is, tells what is answered next. */
  #isBannerOpen = false

  constructor(console: Console) {
    this.console = console
    this.#era = new Lifeline(console.life)
    console.subscribe({
      text: (text) => {
        this.heard++
        this.account.text({ isNoisy: this.isLoud })
        this.step?.text(text)
      },
      mark: (mark) => this.#hear(mark),
      typed: (data) => {
        const lines = Buffer.from(data).toString().split('\n').length - 1
        for (let i = 0; i < lines; i++) this.account.typedPlain()
      },
    })
  }

  /** It may print when no command runs. */
  get isLoud(): boolean {
    const { isNoisy, isEchoed, isEdited } = this.facts
    return isNoisy || isEchoed || isEdited
  }

  /** Ends when its machine goes back to an earlier state, or with the console's. */
  get era(): Lifeline {
    return this.#era
  }

  /** The step is met, or given up; its mark may come later, and is nobody's then. */
  endStep(): void {
    if (this.step?.isEchoed) this.facts = { ...this.facts, isEchoed: true }
    this.step = undefined
  }

  /** Fails all waits for a mark with `reason`. */
  startOver(reason: Error): void {
    this.#open = undefined
    this.#isBannerOpen = false
    this.#era.end(reason)
    this.#era = new Lifeline(this.console.life)
  }

  /** The lines of a command, for a shell at its prompt. */
  linesOf(command: string, manner: Manner): TypedLine[] {
    return commandLines(command, manner, () => this.console.marks.makeId())
  }

  /** Types a line that is answered by a mark, which comes when the shell can take the next, or has ended. */
  async ask({ id, text }: TypedLine): Promise<void> {
    const at = this.console.marks.await(id)
    const mark = this.mark(
      (one) => one.kind === 'banner' || (one.kind === 'prompt' && one.at === at),
    )
    mark.catch(() => {}) // typing may fail, and then nobody looks at it
    this.console.send(text)
    await mark
  }

  /** Types the last line of a command. */
  run({ id, text }: TypedLine, command: string): void {
    this.#typed = command
    this.account.typed()
    this.#open = this.console.marks.await(id)
    this.console.send(text)
  }

  probe({ keys = '', before = '', isShort = false }: SyncOptions = {}): void {
    this.account.probed()
    const id = this.console.marks.makeId()
    this.#probe = this.console.marks.await(id, { isProbe: true })
    const { naming } = this.facts
    const line = isShort ? quickProbe(id, { before }) : probeLine(id, { before, naming })
    this.console.send(`${keys}${line}`)
  }

  /** Tells whether a mark answers the last probe. */
  readonly isAnswer = (mark: Mark): boolean =>
    mark.kind === 'prompt' && mark.isAnswer && mark.at === this.#probe

  /** Resolves when the shell has read everything that was typed and waits for a line. */
  async sync({ keys, before, isShort, ...options }: SyncOptions = {}): Promise<void> {
    const answer = this.mark((mark) => mark.kind === 'banner' || this.isAnswer(mark), options)
    answer.catch(() => {}) // typing may fail, and then nobody looks at it
    this.probe({ keys, before, isShort })
    const { kind } = await answer
    // It has ended and will not answer; of the next one any mark will do.
    if (kind === 'banner') await this.mark(isPrompt, options)
  }

  /** The next mark that is wanted. */
  mark(wanted: (mark: Mark) => boolean, options: WaitOptions = {}): Promise<Mark> {
    const signal = stopSignal(this.#era.signal, options.signal)
    return this.#waits.next(wanted, { ...options, signal })
  }

  /** Asks bash's parser whether a command is unfinished; no command sees that it was asked. */
  async isUnfinished(command: string): Promise<boolean> {
    const before = this.facts
    const manner = { ...mannerFor('', before), isCareful: true, isQuick: false }
    for (const line of this.linesOf(verdictOn(command), manner)) await this.ask(line)
    const { status } = this.facts
    const { each, last } = before
    this.facts = { ...this.facts, status: before.status, each, last }
    return status === 1
  }

  #hear(mark: Mark): void {
    this.heard++
    // A transcript that is shown has banners in it: a shell that still answers the line before has not ended.
    if (mark.kind === 'banner' && this.#open !== undefined) {
      // One probe tells, however many banners there are: a terminal holds 4095 bytes that nobody reads.
      if (!this.#isBannerOpen) this.probe()
      this.#isBannerOpen = true
    } else if (mark.kind === 'banner') {
      this.#begin()
      this.probe()
    } else if (mark.kind === 'begin') this.#tell(mark)
    else if (!mark.isAnswer) {
      // A shell that still answers its line has not ended, whatever banner was shown.
      if (mark.at === this.#open) {
        this.#open = undefined
        this.#isBannerOpen = false
      }
      this.#prompt(mark)
    } else if (this.isAnswer(mark)) {
      if (this.#isBannerOpen && this.#open !== undefined) this.#begin()
      this.#isBannerOpen = false
      this.#prompt(mark)
    }
  }

  #prompt(mark: Prompt): void {
    this.facts = heard(this.facts, mark, this.#typed)
    const { pid } = mark
    // A shell that a command started has the options of its own.
    if (pid !== undefined && pid !== (this.pids[0] ?? pid)) {
      this.facts = { ...this.facts, isEdited: true }
    }
    if (pid !== undefined) this.pids = [...this.pids.filter((other) => other !== pid), pid]
    this.account.prompt(mark)
    this.#tell(mark)
    const isEchoed = this.step?.isEchoed ?? this.facts.isEchoed
    this.facts = { ...this.facts, isEchoed }
  }

  /** Another shell is there, in place of all that were. */
  #begin(): void {
    this.#open = undefined
    this.console.marks.forget()
    this.account.restart()
    this.facts = NEW_SHELL
    this.pids = []
    this.heldBy = undefined
    this.#tell({ kind: 'banner' })
  }

  #tell(mark: Mark): void {
    this.step?.mark(mark, this.facts.line)
    this.#waits.hear(mark)
  }
}
