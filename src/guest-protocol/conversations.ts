import { FromGuest, type ToGuest } from './frames.ts'

/** One conversation with the agent: a command's run, or a terminal in the guest. */
export interface Channel {
  send(type: keyof typeof ToGuest, payload?: string | Uint8Array): void
  /** Forgets the channel here; tell the guest first, with `close` or `signal`, if it still runs. */
  forget(): void
}

export type ChannelListener = (frame: { type: number; payload: Uint8Array }) => void

interface Conversation {
  hear: ChannelListener
  lose(error: Error): void
}

/** The conversations under way with an agent. */
export class Conversations {
  readonly #send: (id: number, type: keyof typeof ToGuest, payload: string | Uint8Array) => void
  readonly #open = new Map<number, Conversation>()
  #last = 0

  /** @param send sends a frame of a conversation */
  constructor(
    send: (id: number, type: keyof typeof ToGuest, payload: string | Uint8Array) => void,
  ) {
    this.#send = send
  }

  get ids(): readonly number[] {
    return [...this.#open.keys()]
  }

  /** @param lose called instead of any further frame when there is no agent any more */
  open(hear: ChannelListener, lose: (error: Error) => void): Channel {
    const id = ++this.#last
    this.#open.set(id, { hear, lose })
    return {
      send: (type, payload = '') => this.#send(id, type, payload),
      forget: () => this.#open.delete(id),
    }
  }

  hear(id: number, frame: Parameters<ChannelListener>[0]): void {
    this.#open.get(id)?.hear(frame)
  }

  /** Ends all of them, as the guest does what it cannot do. */
  fail(why: string): void {
    const frame = { type: FromGuest.fail, payload: Buffer.from(why) }
    for (const { hear } of this.#take()) hear(frame)
  }

  /** Ends all of them: nobody is there any more. @param why makes the error of each */
  lose(why: () => Error): void {
    for (const { lose } of this.#take()) lose(why())
  }

  #take(): Conversation[] {
    const all = [...this.#open.values()]
    this.#open.clear()
    return all
  }
}
