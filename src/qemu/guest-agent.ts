import { randomInt } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { Mutex } from 'async-mutex'
import { AbortController, anySignal } from '../abort.ts'
import { performance } from '../time.ts'
import { poll, type WaitOptions, waitFor } from '../wait.ts'
import { GuestAgentError, GuestAgentSilence, type Silence } from './guest-agent-error.ts'
import { lineSplitter } from './lines.ts'

export interface GuestAgentCallOptions {
  /** Milliseconds for all of it: its turn, the agent's sign of life, its answer. */
  timeoutMs: number
  signal?: AbortSignal
}

interface Answer {
  return?: unknown
  error?: { class: string; desc: string }
}

/** A byte that no JSON has: it ends what was half said, in both directions. */
const SENTINEL = 0xff
/** An agent that was not there yet, or was restarted, may not have read what it was asked. */
const ASK_AGAIN_MS = 2000
const LARGEST_ID = 2 ** 47

/**
 * The QEMU guest agent behind a virtio-serial port, by its protocol
 * (https://www.qemu.org/docs/master/interop/qemu-ga-ref.html).
 *
 * An answer has nothing that tells what it answers, and the agent may have been restarted, taken back
 * to a snapshot, or given up on in the middle of one. So one call is made at a time, and each begins
 * with guest-sync-delimited: what comes before the answer to that is of the past. It is also what keeps
 * a command from an agent that is not there, which would do it whenever it comes.
 */
export class GuestAgentPort {
  readonly #where: { vm?: string; dut?: string }
  readonly #turns = new Mutex()
  #stream: Duplex
  #era = new AbortController()
  /** Gets the answers, and whether each came behind the sentinel. */
  #take: (answer: Answer, isMarked: boolean) => void = () => {}

  /** @param where goes into the errors */
  constructor(stream: Duplex, where: { vm?: string; dut?: string } = {}) {
    this.#where = where
    this.#stream = stream
    this.moveTo(stream)
  }

  /** The guest is in another QEMU. */
  moveTo(stream: Duplex): void {
    this.#stream = stream
    stream.on('error', () => {}) // the end of QEMU, which is told elsewhere
    stream.on(
      'data',
      answerSplitter((line, isMarked) => {
        const answer = parse(line)
        if (answer && this.#stream === stream) this.#take(answer, isMarked)
      }),
    )
  }

  /** Aborted when what is under way at this moment is of no use any more; see {@link interrupt}. */
  get era(): AbortSignal {
    return this.#era.signal
  }

  /** Ends all calls under way, for a guest that begins anew or is taken back. */
  interrupt(reason: Error): void {
    const ended = this.#era
    this.#era = new AbortController()
    ended.abort(reason)
  }

  /**
   * What the agent returns for a command. The agent may do it all the same when the wait ends early.
   *
   * @throws GuestAgentError with the agent's own words, GuestAgentSilence when it does not answer in time
   */
  async call(
    command: string,
    args: object | undefined,
    { timeoutMs, signal: given }: GuestAgentCallOptions,
  ): Promise<unknown> {
    const startedAt = performance.now()
    const signal = anySignal(given, this.era)
    const wait = (silence: Silence): WaitOptions => ({
      ...{ signal, timeoutMs: Math.max(1, timeoutMs - (performance.now() - startedAt)) },
      onTimeout: () => new GuestAgentSilence(command, silence, performance.now() - startedAt),
    })
    const turn = this.#turns.acquire()
    const release = await waitFor(turn, wait('busy with an earlier call')).catch((error) => {
      turn.then((back) => back())
      throw error
    })
    try {
      await this.#synchronise(wait('not there'))
      const asked = this.#answered((answer, isMarked) => (isMarked ? undefined : answer))
      this.#send({ execute: command, ...(args && { arguments: args }) })
      const { error, return: value } = await waitFor(asked, wait('no answer'))
      if (error) throw new GuestAgentError(command, error, this.#where)
      return value
    } finally {
      this.#take = () => {}
      release()
    }
  }

  /** Resolves when the agent has read all that was said to it, and all that it said has been read. */
  async #synchronise(wait: WaitOptions): Promise<void> {
    const asked: number[] = []
    let isHeard = false
    const ask = (): undefined => {
      if (isHeard) return undefined // only the answer to the last one is missing
      const id = randomInt(LARGEST_ID)
      asked.push(id)
      this.#stream.write(Buffer.of(SENTINEL))
      this.#send({ execute: 'guest-sync-delimited', arguments: { id } })
      return undefined
    }
    const answered = this.#answered(({ return: id }, isMarked) => {
      if (!isMarked || typeof id !== 'number') return undefined
      isHeard ||= asked.includes(id)
      return id === asked.at(-1) ? id : undefined
    })
    const over = new AbortController()
    const asking = poll<never>(ask, { everyMs: ASK_AGAIN_MS, signal: over.signal })
    asking.catch(() => {}) // it ends when `over` is
    try {
      await waitFor(answered, wait)
    } finally {
      over.abort()
    }
  }

  #answered<T>(pick: (answer: Answer, isMarked: boolean) => T | undefined): Promise<T> {
    return new Promise((resolve) => {
      this.#take = (answer, isMarked) => {
        const picked = pick(answer, isMarked)
        if (picked !== undefined) resolve(picked)
      }
    })
  }

  #send(message: object): void {
    if (!this.#stream.destroyed) this.#stream.write(`${JSON.stringify(message)}\n`)
  }
}

/** Cuts what the agent says into lines; one that was begun before a sentinel is dropped. */
function answerSplitter(
  onLine: (line: string, isMarked: boolean) => void,
): (chunk: Uint8Array) => void {
  const begin = (isMarked: boolean) => {
    let isFirst = isMarked
    return lineSplitter((line) => {
      const marked = isFirst
      isFirst = false
      onLine(line, marked)
    })
  }
  let lines = begin(false)
  return (chunk) => {
    const parts = splitAt(SENTINEL, chunk)
    for (const [i, part] of parts.entries()) {
      if (i > 0) lines = begin(true)
      lines(part)
    }
  }
}

function splitAt(byte: number, chunk: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = []
  let from = 0
  for (let to = chunk.indexOf(byte); to >= 0; to = chunk.indexOf(byte, from)) {
    parts.push(chunk.subarray(from, to))
    from = to + 1
  }
  return [...parts, chunk.subarray(from)]
}

function parse(line: string): Answer | undefined {
  try {
    const value = JSON.parse(line)
    const isAnswer = typeof value === 'object' && value !== null
    return isAnswer && ('return' in value || 'error' in value) ? value : undefined
  } catch {
    return undefined
  }
}
