import type { Duplex } from 'node:stream'
import { asError, GuestError } from '../errors.ts'
import { type WaitOptions, waitFor } from '../wait.ts'
import { encodeFrames, type Frame, FrameReader, FromGuest, ToGuest } from './frames.ts'

/** One conversation with the agent: a command's run, or a terminal in the guest. */
export interface Channel {
  send(type: keyof typeof ToGuest, payload?: string | Uint8Array): void
  /** Forgets the channel here; tell the guest first, with `close` or `signal`, if it still runs. */
  forget(): void
}

export type ChannelListener = (frame: { type: number; payload: Uint8Array }) => void

/** The default guest's agent, at the other end of a virtio-serial port. */
export class Agent {
  readonly #stream: Duplex
  readonly #channels = new Map<number, ChannelListener>()
  readonly #hellos = new Map<string, (facts: Map<string, string>) => void>()
  #lastChannel = 0

  /** @param onBroken called once if what comes from the guest makes no sense */
  constructor(stream: Duplex, onBroken: (error: Error) => void) {
    this.#stream = stream
    const reader = new FrameReader()
    stream.on('error', () => {}) // its end is noticed as the VM's
    stream.on('data', (data: Uint8Array) => {
      try {
        for (const frame of reader.push(data)) this.#hear(frame)
      } catch (error) {
        stream.destroy()
        onBroken(asError(error))
      }
    })
  }

  /** Asks for a sign of life; resolves with what the guest says of itself (`version`, `kernel`, …). */
  async hello(options: WaitOptions = {}): Promise<Map<string, string>> {
    const nonce = crypto.randomUUID()
    const { promise, resolve } = Promise.withResolvers<Map<string, string>>()
    this.#hellos.set(nonce, resolve)
    this.#send(0, 'hello', nonce)
    try {
      return await waitFor(promise, options)
    } finally {
      this.#hellos.delete(nonce)
    }
  }

  open(listener: ChannelListener): Channel {
    const id = ++this.#lastChannel
    this.#channels.set(id, listener)
    return {
      send: (type, payload = '') => this.#send(id, type, payload),
      forget: () => this.#channels.delete(id),
    }
  }

  #send(channel: number, type: keyof typeof ToGuest, payload: string | Uint8Array): void {
    const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload
    if (this.#stream.writable) this.#stream.write(encodeFrames(ToGuest[type], channel, bytes))
  }

  #hear({ channel, type, payload }: Frame): void {
    if (type === FromGuest.hello) {
      const [nonce = '', ...lines] = Buffer.from(payload).toString().split('\n')
      const facts = lines.flatMap((line) => {
        const at = line.indexOf('=')
        return at === -1 ? [] : [[line.slice(0, at), line.slice(at + 1)] as const]
      })
      this.#hellos.get(nonce)?.(new Map(facts))
    } else {
      this.#channels.get(channel)?.({ type, payload })
    }
  }
}

/** The error for a `fail` frame. */
export function agentError(payload: Uint8Array, where: { vm?: string; dut?: string }): GuestError {
  return new GuestError(`the guest's agent could not do it: ${Buffer.from(payload)}`, where)
}
