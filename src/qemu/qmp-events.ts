import type { EventName, QmpEvent } from './qmp-types.ts'

/** Ends by itself when the connection does; leaving a `for await` unsubscribes. */
export type EventStream<N extends EventName> = AsyncIterableIterator<QmpEvent<N>> & AsyncDisposable

/** Hands events to those who subscribed, and keeps each one for them until they ask for it. */
export class EventHub {
  readonly #queues = new Set<Queue>()
  readonly #listeners = new Set<(event: QmpEvent) => void>()
  #ended = false

  publish(event: QmpEvent): void {
    for (const listener of this.#listeners) listener(event)
    for (const queue of this.#queues) queue.push(event)
  }

  end(): void {
    this.#ended = true
    for (const queue of this.#queues) queue.end()
    this.#queues.clear()
  }

  /** Calls `listener` with each event as it comes, before any answer that QEMU gives after it is seen. */
  listen(listener: (event: QmpEvent) => void): void {
    this.#listeners.add(listener)
  }

  /** Has those who listen hear the events of another one from now on. */
  moveTo(other: EventHub): void {
    for (const queue of this.#queues) other.#adopt(queue)
    this.#queues.clear()
    for (const listener of this.#listeners) other.listen(listener)
    this.#listeners.clear()
  }

  #adopt(queue: Queue): void {
    queue.leave = () => void this.#queues.delete(queue)
    if (this.#ended) queue.end()
    else this.#queues.add(queue)
  }

  /** Subscribed when this returns, not when the iteration begins. */
  subscribe<N extends EventName>(name?: N): EventStream<N> {
    const queue = new Queue(name)
    this.#adopt(queue)
    const leave = async () => {
      queue.leave()
      queue.end({ drop: true })
      return { done: true as const, value: undefined }
    }
    const stream: EventStream<N> = {
      next: () => queue.next() as Promise<IteratorResult<QmpEvent<N>>>,
      return: leave,
      [Symbol.asyncIterator]: () => stream,
      [Symbol.asyncDispose]: async () => void (await leave()),
    }
    return stream
  }
}

class Queue {
  /** Takes it away from where it is. */
  leave = (): void => {}
  readonly #name: string | undefined
  #events: QmpEvent[] = []
  #waiting: ((result: IteratorResult<QmpEvent>) => void)[] = []
  #ended = false

  constructor(name?: string) {
    this.#name = name
  }

  push(event: QmpEvent): void {
    if (this.#name !== undefined && event.event !== this.#name) return
    const waiting = this.#waiting.shift()
    if (waiting) waiting({ done: false, value: event })
    else this.#events.push(event)
  }

  /** What came before the end can still be read, unless it is dropped. */
  end({ drop = false } = {}): void {
    this.#ended = true
    if (drop) this.#events = []
    for (const waiting of this.#waiting) waiting({ done: true, value: undefined })
    this.#waiting = []
  }

  next(): Promise<IteratorResult<QmpEvent>> {
    const event = this.#events.shift()
    if (event) return Promise.resolve({ done: false, value: event })
    if (this.#ended) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve) => this.#waiting.push(resolve))
  }
}
