import type { Duplex } from 'node:stream'
import { lastLines } from '../errors.ts'

const REMEMBERED = 1 << 20
const PANIC = /^.*Kernel panic - not syncing.*\n/m
const STAGE = /vitest-dut: (modules|root|ready|failed: .*)/g

export interface KernelLogListener {
  /** The guest's init has got this far, or says why it failed. */
  stage(stage: string): void
  /** The line in which the kernel gave up. */
  panic(line: string): void
}

/** The guest kernel's messages, which come over a serial line of their own. */
export class KernelLog {
  readonly #listener: KernelLogListener
  readonly #decoder = new TextDecoder()
  #ended: Promise<void> = Promise.resolve()
  #line = ''
  #text = ''
  #panic: { line: string; at: number } | undefined

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

  /** The line in which the kernel gave up, if it has. */
  get panic(): string | undefined {
    return this.#panic?.line
  }

  /** From some lines before the panic to the end. */
  sincePanic(lines = 20): string {
    const { at = 0 } = this.#panic ?? {}
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
    const whole = this.#line.lastIndexOf('\n') + 1
    if (whole === 0) return
    const lines = this.#line.slice(0, whole)
    this.#line = this.#line.slice(whole)
    for (const [, stage] of lines.matchAll(STAGE))
      if (stage) this.#listener.stage(stage === 'ready' ? 'shell' : stage)
    const panic = PANIC.exec(lines)
    if (panic && this.#panic === undefined) {
      const text = panic[0].trim()
      this.#panic = { line: text, at: this.#text.lastIndexOf(text) }
      this.#listener.panic(text)
    }
  }
}
