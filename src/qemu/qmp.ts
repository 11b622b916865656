import type { Duplex } from 'node:stream'
import { asError, InfrastructureError } from '../errors.ts'
import { type WaitOptions, waitFor } from '../wait.ts'
import { MUTE_HINT } from './hints.ts'
import { lineSplitter } from './lines.ts'
import { QmpClosedError, QmpError } from './qmp-error.ts'
import { EventHub, type EventStream } from './qmp-events.ts'
import type {
  ArgsOf,
  CommandName,
  EventName,
  QemuVersion,
  QmpEvent,
  ReturnOf,
} from './qmp-types.ts'

export { QmpClosedError, QmpError } from './qmp-error.ts'

export interface QmpOptions {
  /** Milliseconds. */
  timeoutMs?: number
  signal?: AbortSignal
}

export interface OnceOptions<N extends EventName> extends QmpOptions {
  /** Passes over events that it is false for. */
  where?: (event: QmpEvent<N>) => boolean
}

/** A QEMU that is listening to us. Any number of commands may be under way at once. */
export interface Qmp {
  /** From QEMU's greeting. */
  readonly version: QemuVersion
  /**
   * What QEMU returns for the command. It is not taken back when the wait for it ends early.
   *
   * @param options.timeoutMs 30,000 by default
   * @throws QmpError when QEMU refuses, {@link QmpClosedError} when it is gone, InfrastructureError
   *   when it does not answer in time
   */
  execute<C extends CommandName>(
    command: C,
    ...rest: undefined extends ArgsOf<C>
      ? [args?: ArgsOf<C>, options?: QmpOptions]
      : [args: ArgsOf<C>, options?: QmpOptions]
  ): Promise<ReturnOf<C>>
  /**
   * All events, or those of one name, from this call on: none is lost before the first `next`. Events
   * are kept until they are read, so leave the iteration (or dispose of it) when it is not wanted.
   */
  events<N extends EventName>(name?: N): EventStream<N>
  /** The next event of that name from this call on. */
  once<N extends EventName>(name: N, options?: OnceOptions<N>): Promise<QmpEvent<N>>
  /** Those who listen to its events. */
  readonly hub: EventHub
  /** Resolves, never rejects, when the connection has ended; with the cause where there is one. */
  readonly closed: Promise<Error | undefined>
  /** Ends the connection, not QEMU. */
  close(): void
}

interface Pending {
  command: string
  resolve(value: unknown): void
  reject(error: Error): void
}

interface Message {
  QMP?: { version: QemuVersion }
  event?: string
  id?: number
  return?: unknown
  error?: { class: string; desc: string }
}

const ANSWER_TIMEOUT_MS = 30_000

/**
 * Speaks QMP (https://www.qemu.org/docs/master/interop/qmp-spec.html) over a connection to QEMU, and
 * resolves when commands can be given. The stream is destroyed when that fails.
 *
 * @param options.timeoutMs for the greeting and QEMU's consent, 30,000 by default
 * @throws InfrastructureError when the other end does not greet as QEMU does
 */
export async function connectQmp(
  stream: Duplex,
  { signal, timeoutMs = ANSWER_TIMEOUT_MS }: QmpOptions = {},
): Promise<Qmp> {
  const connection = new Connection(stream)
  const wait = { signal, timeoutMs, onTimeout: unanswered('the greeting') }
  try {
    const version = await waitFor(connection.greeting, wait)
    await connection.execute('qmp_capabilities', undefined, { signal, timeoutMs })
    return {
      version,
      // The interface knows each command's types; the connection sees words only.
      execute: ((command, args, options) =>
        connection.execute(command, args, options)) as Qmp['execute'],
      events: (name) => connection.hub.subscribe(name),
      once: (name, options) => connection.once(name, options),
      hub: connection.hub,
      closed: connection.closed,
      close: () => connection.end(),
    }
  } catch (error) {
    connection.end(asError(error))
    throw error
  }
}

class Connection {
  readonly hub = new EventHub()
  readonly greeting: Promise<QemuVersion>
  readonly closed: Promise<Error | undefined>
  readonly #stream: Duplex
  readonly #pending = new Map<number, Pending>()
  #greeted = (_: QemuVersion) => {}
  #refused = (_: Error) => {}
  #close = (_?: Error) => {}
  #ended: { cause?: Error } | undefined
  #lastId = 0

  constructor(stream: Duplex) {
    this.#stream = stream
    this.closed = new Promise((resolve) => {
      this.#close = resolve
    })
    this.greeting = new Promise((resolve, reject) => {
      this.#greeted = resolve
      this.#refused = reject
    })
    this.greeting.catch(() => {}) // a connection that ends later has nobody waiting here
    stream.on(
      'data',
      lineSplitter((line) => this.#take(line)),
    )
    stream.on('error', (error) => this.end(error))
    stream.on('end', () => this.end())
    stream.on('close', () => this.end())
  }

  execute(
    command: string,
    args?: object,
    { timeoutMs = ANSWER_TIMEOUT_MS, signal }: QmpOptions = {},
  ): Promise<unknown> {
    if (this.#ended) return Promise.reject(new QmpClosedError(command, this.#ended.cause))
    if (signal?.aborted) return Promise.reject(signal.reason)
    this.#lastId += 1
    const id = this.#lastId
    const answer = new Promise((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject })
      this.#stream.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
    })
    const wait: WaitOptions = { signal, timeoutMs, onTimeout: unanswered(command) }
    return waitFor(answer, wait).finally(() => this.#pending.delete(id))
  }

  async once<N extends EventName>(
    name: N,
    { where = () => true, ...wait }: OnceOptions<N> = {},
  ): Promise<QmpEvent<N>> {
    await using events = this.hub.subscribe(name)
    const found = async () => {
      for (;;) {
        const { done, value } = await events.next()
        if (done) throw new QmpClosedError(`the event ${name}`, this.#ended?.cause)
        if (where(value)) return value
      }
    }
    return await waitFor(found(), { ...wait, onTimeout: unseen(name) })
  }

  end(cause?: Error): void {
    if (this.#ended) return
    this.#ended = { cause }
    this.#stream.destroy()
    this.#refused(new QmpClosedError('the greeting', cause))
    for (const { command, reject } of this.#pending.values()) {
      reject(new QmpClosedError(command, cause))
    }
    this.#pending.clear()
    this.hub.end()
    this.#close(cause)
  }

  #take(line: string): void {
    if (this.#ended || line.trim() === '') return
    const message = parse(line)
    if (message?.QMP) this.#greeted(message.QMP.version)
    else if (message?.event !== undefined) this.hub.publish(message as QmpEvent)
    else if (message?.id !== undefined) this.#answer(message.id, message)
    else this.end(new Error(`this is not QMP: ${JSON.stringify(line.slice(0, 200))}`))
  }

  // Whoever gave up waiting has taken its entry away.
  #answer(id: number, { error, return: value }: Message): void {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    if (error) pending?.reject(new QmpError(pending.command, error))
    else pending?.resolve(value)
  }
}

function parse(line: string): Message | undefined {
  try {
    const value = JSON.parse(line)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

const unanswered = (command: string) => (elapsedMs: number) =>
  new InfrastructureError(`QEMU did not answer: ${command}`, {
    command,
    elapsedMs,
    hint: MUTE_HINT,
  })

const unseen = (name: string) => (elapsedMs: number) =>
  new InfrastructureError(`QEMU did not report ${name}`, { command: name, elapsedMs })
