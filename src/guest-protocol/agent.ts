import type { Duplex } from 'node:stream'
import { Outbox } from '../console/outbox.ts'
import { asError } from '../errors.ts'
import { wallClock } from '../time.ts'
import { turn, type WaitOptions, waitFor } from '../wait.ts'
import { agentError, noAgentError } from './agent-error.ts'
import { nearest, type Reading, readingOf, step } from './clock.ts'
import { type Channel, type ChannelListener, Conversations } from './conversations.ts'
import { encodeFrames, type Frame, FrameReader, FromGuest, ToGuest } from './frames.ts'
import { type Identity, identityBytes, newSeed } from './identity.ts'

/** The default guest's agent, at the other end of a virtio-serial port. */
export class Agent {
  readonly #outbox: Outbox<Uint8Array>
  readonly #onBroken: (error: Error) => void
  readonly #conversations = new Conversations((...frame) => this.#send(...frame))
  readonly #hellos = new Map<string, PromiseWithResolvers<Map<string, string>>>()
  #reader = new FrameReader()
  /** Bytes. */
  #received = 0
  /** Frames, both ways. */
  #traffic = 0
  /** Why there is none in the guest; whatever is asked of it fails with this then. */
  absent: string | undefined
  #lost: (() => Error) | undefined

  /** @param onBroken called once if what comes from the guest makes no sense */
  constructor(stream: Duplex, onBroken: (error: Error) => void) {
    this.#onBroken = onBroken
    this.#outbox = new Outbox(this.#listen(stream))
  }

  /** Asks for a sign of life; resolves with what the guest says of itself (`version`, `kernel`, …). */
  async hello(options: WaitOptions = {}): Promise<Map<string, string>> {
    this.check()
    const nonce = crypto.randomUUID()
    const answer = Promise.withResolvers<Map<string, string>>()
    this.#hellos.set(nonce, answer)
    this.#send(0, 'hello', nonce)
    try {
      return await waitFor(answer.promise, options)
    } finally {
      this.#hellos.delete(nonce)
    }
  }

  /**
   * Makes the guest a machine of its own: host name, machine-id, random state, and the clock as of
   * {@link Agent.setClock}. Deadline and signal are for each of its answers.
   *
   * @throws GuestError when it could not do it
   * @throws UsageError for a seed or a machine-id of another length
   */
  async identify(identity: Identity, options: WaitOptions = {}): Promise<void> {
    const bytes = identityBytes(identity)
    await this.setClock(options, await this.#readClock('identify', bytes, options))
  }

  /**
   * Sets the guest's clock by ours, which it is then as near to as half of the shortest round trip: 40 ms,
   * or more where a machine that is short of time does none in 80 ms for two seconds.
   *
   * @throws GuestError when the guest refuses
   */
  async setClock(options: WaitOptions = {}, first?: Reading): Promise<void> {
    const read = () => this.#readClock('clock', step(0), options)
    const { behindMs } = await nearest(read, first)
    await this.#readClock('clock', step(behindMs), options)
  }

  /** Sends a frame that the guest answers with what its clock shows. */
  async #readClock(
    type: 'identify' | 'clock',
    payload: Uint8Array,
    options: WaitOptions,
  ): Promise<Reading> {
    const sentAt = wallClock.now()
    const answer = await this.#ask(type, payload, options)
    return readingOf(answer, sentAt, wallClock.now())
  }

  /**
   * Gives NICs their drivers, in the order of their addresses: those of a saved machine have none.
   *
   * @throws GuestError when one cannot be bound
   */
  async bindNics(options: WaitOptions = {}): Promise<void> {
    await this.#ask('nics', '', options)
  }

  /** Sends a frame and waits for its answer. @throws GuestError when that is a failure */
  async #ask(
    type: 'identify' | 'clock' | 'nics',
    payload: string | Uint8Array,
    options: WaitOptions,
  ): Promise<Uint8Array> {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
    const channel = this.open((frame) => {
      if (frame.type === FromGuest.fail) reject(agentError(frame.payload))
      else resolve(frame.payload)
    }, reject)
    try {
      channel.send(type, payload)
      return await waitFor(promise, options)
    } finally {
      channel.forget()
    }
  }

  /**
   * Has the kernel of a guest that went back to an earlier state go on with other random bytes than it
   * did the first time, and sets its clock.
   */
  async renew(options: WaitOptions = {}): Promise<void> {
    await this.setClock(options, await this.#readClock('identify', newSeed(), options))
  }

  /** Says as a number what went over the port so far, once all of it has been dealt with. */
  async settled(options: WaitOptions = {}): Promise<number> {
    await this.hello(options)
    return this.#traffic
  }

  /** Tells of a guest that stands still whether nothing went over the port since {@link settled}. */
  async isQuietSince(traffic: number): Promise<boolean> {
    await this.#drained()
    return this.#traffic === traffic && !this.#reader.isInFrame
  }

  /**
   * Keeps back what is sent from now on, until {@link release}; resolves when the guest has read all
   * that was sent before.
   */
  async hold(options: WaitOptions = {}): Promise<void> {
    const answered = this.hello(options)
    this.#outbox.hold()
    await answered
  }

  /** Sends what was kept back. */
  release(): void {
    this.#outbox.release()
  }

  /** The guest is at the other end of this one from now on; of the one before, all was read. */
  moveTo(stream: Duplex): void {
    this.#outbox.moveTo(this.#listen(stream))
  }

  /** The guest begins anew: what was half said is not. */
  startOver(): void {
    this.#reader = new FrameReader()
  }

  /** The conversations under way; see {@link endAll}. */
  get conversations(): readonly number[] {
    return this.#conversations.ids
  }

  /** Ends all conversations on this side, for a guest that stands still and will not remember them. */
  async endAll(why: string): Promise<void> {
    await this.#drained()
    this.#conversations.fail(why)
    this.#reader = new FrameReader()
  }

  /** Ends on the guest's side what only that remembers. */
  closeAll(conversations: readonly number[]): void {
    for (const id of conversations) this.#send(id, 'close', '')
  }

  /** Everything that a guest that stands still has sent, has been read. */
  async #drained(): Promise<void> {
    for (let before = -1; before !== this.#received; ) {
      before = this.#received
      await turn()
    }
  }

  /** Its end of the port is closed: what is under way and what comes fails with `why()`, until {@link found}. */
  lose(why: () => Error): void {
    this.#lost = why
    this.#reader = new FrameReader()
    this.#conversations.lose(why)
    for (const { reject } of this.#hellos.values()) reject(why())
  }

  /** Takes {@link lose} back: something has opened the port. */
  found(): void {
    this.#lost = undefined
  }

  /** Something answers at the guest's end, as far as is known. */
  get isThere(): boolean {
    return this.absent === undefined && this.#lost === undefined
  }

  /** @param lose called when there is no agent any more, which ends the conversation */
  open(hear: ChannelListener, lose: (error: Error) => void = () => {}): Channel {
    this.check()
    return this.#conversations.open(hear, lose)
  }

  /** @throws UsageError where the guest has no agent, GuestError where that has ended */
  check(): void {
    if (this.absent !== undefined) throw noAgentError(this.absent)
    if (this.#lost !== undefined) throw this.#lost()
  }

  #send(channel: number, type: keyof typeof ToGuest, payload: string | Uint8Array): void {
    const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload
    this.#traffic++
    this.#outbox.write(encodeFrames(ToGuest[type], channel, bytes))
  }

  /** Hears what comes out of a stream; what writes to it. */
  #listen(stream: Duplex): (bytes: Uint8Array) => void {
    stream.on('error', () => {}) // its end is noticed as the VM's
    stream.on('data', (data: Uint8Array) => {
      this.#received += data.length
      try {
        for (const frame of this.#reader.push(data)) this.#hear(frame)
      } catch (error) {
        stream.destroy()
        this.#onBroken(asError(error))
      }
    })
    return (bytes) => void (stream.writable && stream.write(bytes))
  }

  #hear({ channel, type, payload }: Frame): void {
    this.#traffic++
    if (type === FromGuest.hello) {
      const [nonce = '', ...lines] = Buffer.from(payload).toString().split('\n')
      const facts = lines.flatMap((line) => {
        const at = line.indexOf('=')
        return at === -1 ? [] : [[line.slice(0, at), line.slice(at + 1)] as const]
      })
      this.#hellos.get(nonce)?.resolve(new Map(facts))
    } else {
      this.#conversations.hear(channel, { type, payload })
    }
  }
}
