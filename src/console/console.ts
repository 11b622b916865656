import { atCallSite } from '../call-site.ts'
import { CommandTimeoutError } from '../errors.ts'
import type { Lifeline } from '../lifeline.ts'
import { stopSignal } from '../scope.ts'
import { type Duration, parseDuration } from '../units.ts'
import { waitFor } from '../wait.ts'
import { type Mark, MarkReader } from './marks.ts'
import { Outbox } from './outbox.ts'
import { describePattern, Matcher, type Pattern } from './pattern.ts'
import { Pieces } from './pieces.ts'
import { Redactor } from './redactor.ts'
import type { ByteStream } from './stream.ts'
import { Tokenizer } from './tokens.ts'

export interface ConsoleOptions {
  /** Ends, with the cause, when the other end is gone. */
  life: Lifeline
  /** For messages: which VM on which DUT. */
  vm?: string
  dut?: string
}

/** The terminal itself, or standard error where that is apart from it. */
export type TextSource = 'terminal' | 'stderr'

export interface ConsoleListener {
  text(text: string, source: TextSource): void
  mark?(mark: Mark): void
  /** Somebody typed by hand, past the shell protocol. */
  typed?(data: string | Uint8Array): void
}

/** How much of the past `text` remembers, in characters. */
const REMEMBERED = 1 << 20

/**
 * A guest's byte stream as a person sees it: text without escape sequences and without the marks of
 * the shell protocol, a memory of what was printed, and waiting for what will be.
 */
export class Console {
  readonly life: Lifeline
  readonly where: { vm?: string; dut?: string }
  /** Tells this console's prompts from its output. */
  readonly marks = new MarkReader()
  readonly #tokenizer = new Tokenizer(this.marks)
  readonly #outbox: Outbox<string | Uint8Array>
  readonly #listeners = new Set<ConsoleListener>()
  /** What a shell said before anybody listened to it. */
  #unheard: Mark[] = []
  #redactor = new Redactor('')
  readonly #printed = new Pieces()
  #dropped = 0
  #readUpTo = 0

  constructor(stream: ByteStream, { life, vm, dut }: ConsoleOptions) {
    this.life = life
    this.where = { vm, dut }
    this.#outbox = new Outbox((data) => stream.write(data))
    stream.onData((data) => this.#hear(data))
    const errors = new Tokenizer(new MarkReader())
    stream.onStderr?.((data) => {
      for (const token of errors.push(data)) if ('text' in token) this.#print(token.text, 'stderr')
    })
  }

  /** From now on `secret` is shown as `***` wherever it is printed; `''` ends that. */
  redact(secret: string): void {
    this.#print(this.#redactor.flush())
    this.#redactor = new Redactor(secret)
  }

  /** Everything that was printed, as far as it is remembered (the last million characters). */
  get text(): string {
    return this.#printed.text
  }

  /** The last `lines` lines that were printed. */
  tail(lines = 20): string {
    return this.text.trimEnd().split('\n').slice(-lines).join('\n')
  }

  /** Types `data` as it is; end a line with `\n`. */
  write(data: string | Uint8Array): void {
    for (const listener of [...this.#listeners]) listener.typed?.(data)
    this.send(data)
  }

  /** For the shell protocol, which keeps account of what it types itself. */
  send(data: string | Uint8Array): void {
    this.life.ended.throwIfAborted()
    this.#outbox.write(data)
  }

  /** Keeps back what is typed from now on, until {@link release}. */
  hold(): void {
    this.#outbox.hold()
  }

  /** Types what was kept back, behind `first`. */
  release(...first: Uint8Array[]): void {
    this.#outbox.release(...first)
  }

  /** The guest is at the other end of this one from now on; of the one before, all was read. */
  moveTo(stream: ByteStream): void {
    this.#outbox.moveTo((data) => stream.write(data))
    stream.onData((data) => this.#hear(data))
  }

  /**
   * Waits until `pattern` has been printed, beginning behind the last match (or the last `cmd`), and
   * resolves with the text up to and including it.
   *
   * @param timeout milliseconds or a string with a unit; 30 s where none is given
   * @throws CommandTimeoutError when it has not come in time
   */
  expect(
    pattern: Pattern,
    timeout: Duration = '30s',
    options: { signal?: AbortSignal } = {},
  ): Promise<string> {
    return atCallSite(this.expect, () => this.#expect(pattern, timeout, options))
  }

  async #expect(
    pattern: Pattern,
    timeout: Duration,
    { signal }: { signal?: AbortSignal },
  ): Promise<string> {
    const timeoutMs = parseDuration(timeout, 'timeout')
    const matcher = new Matcher(pattern)
    const from = Math.max(this.#readUpTo, this.#dropped)
    const found = Promise.withResolvers<number>()
    const push = (text: string) => {
      const end = matcher.push(text)
      if (end !== undefined) found.resolve(from + end.to)
    }
    push(this.text.slice(from - this.#dropped))
    const unsubscribe = this.subscribe({ text: push })
    try {
      const end = await waitFor(found.promise, {
        timeoutMs,
        signal: stopSignal(this.life.signal, signal),
        onTimeout: (elapsedMs) =>
          new CommandTimeoutError(`${describePattern(pattern)} was not printed`, {
            ...this.where,
            elapsedMs,
            tail: this.tail(),
            hint: this.life.still?.hint,
          }),
      })
      this.#readUpTo = end
      // What was printed first may be forgotten by now.
      return this.text.slice(Math.max(0, from - this.#dropped), end - this.#dropped)
    } finally {
      unsubscribe()
    }
  }

  /** Counts all that was printed so far as read, so that `expect` looks only at what comes. */
  skip(): void {
    this.#readUpTo = this.#dropped + this.#printed.length
  }

  /** Hears everything from now on, in order, and the marks that nobody has heard; the result ends it. */
  subscribe(listener: ConsoleListener): () => void {
    this.#listeners.add(listener)
    if (listener.mark) for (const mark of this.#unheard.splice(0)) listener.mark(mark)
    return () => this.#listeners.delete(listener)
  }

  #hear(data: Uint8Array): void {
    for (const token of this.#tokenizer.push(data)) {
      if ('text' in token) this.#print(this.#redactor.push(token.text))
      else this.#tell(token.mark)
    }
  }

  #tell(mark: Mark): void {
    const shells = [...this.#listeners].filter((listener) => listener.mark)
    if (shells.length === 0) this.#unheard.push(mark)
    for (const shell of shells) shell.mark?.(mark)
  }

  #print(text: string, source: TextSource = 'terminal'): void {
    if (text === '') return
    this.#remember(text)
    for (const listener of [...this.#listeners]) listener.text(text, source)
  }

  #remember(text: string): void {
    this.#printed.push(text)
    if (this.#printed.length <= 2 * REMEMBERED) return
    this.#dropped += this.#printed.length - REMEMBERED
    this.#printed.keep(REMEMBERED)
  }
}
