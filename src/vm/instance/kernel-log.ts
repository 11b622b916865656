import type { Duplex } from 'node:stream'
import { lastLines } from '../../errors.ts'

const REMEMBERED = 1 << 20
/** Its last line, `---[ end Kernel panic …`, is left out: it comes once more. */
const PANIC = /^(?!.*---\[ end).*Kernel panic - not syncing.*\n/gm
/** The kernel restarts or powers off the machine because it was asked to. */
const ORDERLY_END = /\breboot: (Restarting|machine restart|Power down)/
const STAGE = /vitest-dut: (modules|root|ready|failed: .*)/g

export interface KernelLogListener {
  /** The guest's init has got this far, or says why it failed. */
  stage(stage: string): void
  /** A line that says that the kernel gave up; once, until it is cleared. */
  panic(line: string): void
}

/** The guest kernel's messages, which come over a serial line of their own. */
export class KernelLog {
  readonly #listener: KernelLogListener
  readonly #decoder = new TextDecoder()
  #ended: Promise<void> = Promise.resolve()
  #line = ''
  #text = ''
  #panic: string | undefined
  #panics = 0
  #heard = 0

  constructor(stream: Duplex, listener: KernelLogListener) {
    this.#listener = listener
    this.moveTo(stream)
  }

  /** The guest is at the other end of this one from now on; of the one before, all was read. */
  moveTo(stream: Duplex): void {
    stream.on('data', (data: Uint8Array) => this.#hear(data))
    this.#ended = new Promise((resolve) => {
      stream.on('error', () => {})
      stream.once('close', resolve)
    })
  }

  /** Resolves when QEMU has closed it: nothing more will come. */
  get ended(): Promise<void> {
    return this.#ended
  }

  /** What it said before it was saved. */
  continueFrom(text: string): void {
    this.#text = text + this.#text
  }

  /** The machine is what it was when the log was this. */
  goBackTo(text: string): void {
    this.#text = text
  }

  /** Everything the kernel said, as far as it is remembered (the last million characters). */
  get text(): string {
    return this.#text
  }

  /** The last line that says that the kernel gave up, which any program of the guest can print. */
  get panic(): string | undefined {
    return this.#panic
  }

  /** How many characters came so far. */
  get heard(): number {
    return this.#heard
  }

  /** How many such lines there were. */
  get panics(): number {
    return this.#panics
  }

  /** The guest goes on all the same: it was no panic. */
  clearPanic(): void {
    this.#panic = undefined
  }

  /** The machine was left in order behind the last such line. */
  get endedInOrder(): boolean {
    return ORDERLY_END.test(this.#text.slice(this.#panicAt))
  }

  /** Another kernel was booted behind it, as by kdump. */
  get hasBootedSince(): boolean {
    return this.#text.includes('Linux version ', this.#panicAt)
  }

  get #panicAt(): number {
    return this.#panic === undefined ? 0 : Math.max(0, this.#text.lastIndexOf(this.#panic))
  }

  /** From some lines before the panic to the end. */
  sincePanic(lines = 20): string {
    const at = this.#panicAt
    const before = lastLines(this.#text.slice(0, at), 4)
    return [...before, ...this.#text.slice(at).split('\n')].slice(0, lines).join('\n')
  }

  tail(lines = 20): string {
    return lastLines(this.#text, lines).join('\n')
  }

  #hear(data: Uint8Array): void {
    const text = this.#decoder.decode(data, { stream: true }).replaceAll('\r', '')
    this.#text = (this.#text + text).slice(-REMEMBERED)
    this.#line += text
    this.#heard += text.length
    const whole = this.#line.lastIndexOf('\n') + 1
    if (whole === 0) return
    const lines = this.#line.slice(0, whole)
    this.#line = this.#line.slice(whole)
    for (const [, stage] of lines.matchAll(STAGE))
      if (stage) this.#listener.stage(stage === 'ready' ? 'shell' : stage)
    const panics = lines.match(PANIC) ?? []
    const last = panics.at(-1)?.trim()
    if (last === undefined) return
    const isNew = this.#panic === undefined
    this.#panics += panics.length
    this.#panic = last
    if (isNew) this.#listener.panic(last)
  }
}
