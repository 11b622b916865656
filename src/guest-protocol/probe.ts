import { type WaitOptions, waitFor } from '../wait.ts'
import type { Agent } from './agent.ts'
import { agentError } from './agent-error.ts'
import { FromGuest } from './frames.ts'

/** A network interface of the guest, and its number among those of all guests that take part. */
export interface ProbedNic {
  id: number
  netdev: string
}

/** A guest that listens at its NICs for what other NICs send, and sends when it is told to. */
export interface GuestProbe {
  /** Resolves when it listens: the numbers of the NICs where it cannot, and why. */
  listening(options?: WaitOptions): Promise<ReadonlyMap<number, string>>
  /** Has each NIC send one frame. */
  send(options?: WaitOptions): Promise<void>
  /** Resolves when all that was heard is told, and its NICs are as they were. */
  stop(options?: WaitOptions): Promise<void>
  /** Ends it without waiting. */
  close(): void
}

export const NONCE_LENGTH = 16
/** The guest does not look at which. */
const ANY_SIGNAL = Uint8Array.of(15)

/**
 * Has a guest listen at NICs of its; see guest/helper/probe.c.
 *
 * @param nonce 16 bytes, which all guests of one probe share
 * @param onHeard called once for each pair: what the second one sent has come to the first
 */
export function openProbe(
  agent: Agent,
  { nonce, nics }: { nonce: Uint8Array; nics: readonly ProbedNic[] },
  onHeard: (at: number, from: number) => void,
): GuestProbe {
  const deaf = new Map<number, string>()
  const listens = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<void>()
  let sent = Promise.withResolvers<void>()
  const fail = (error: Error) => {
    for (const waited of [listens, ended]) {
      waited.promise.catch(() => {}) // told by whichever is waited for
      waited.reject(error)
    }
  }
  let rest = ''
  const hear = (line: string) => {
    const [word, id, ...more] = line.split(' ')
    if (word === 'heard') onHeard(Number(id), Number(more[0]))
    else if (word === 'deaf') deaf.set(Number(id), more.join(' '))
    else if (word === 'listens') listens.resolve()
    else if (word === 'sent') sent.resolve()
  }
  const channel = agent.open(({ type, payload }) => {
    if (type === FromGuest.fail) return fail(agentError(payload))
    if (type === FromGuest.exit) return ended.resolve()
    const lines = (rest + Buffer.from(payload)).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) hear(line)
  }, fail)
  channel.send('probe', request(nonce, nics))
  const close = () => {
    channel.send('close')
    channel.forget()
  }
  return {
    listening: async (options) => {
      await waitFor(listens.promise, options)
      return deaf
    },
    send: (options) => {
      sent = Promise.withResolvers()
      channel.send('data')
      return waitFor(Promise.race([sent.promise, ended.promise]), options)
    },
    stop: async (options) => {
      channel.send('signal', ANY_SIGNAL)
      await waitFor(ended.promise, options)
      channel.forget()
    },
    close,
  }
}

function request(nonce: Uint8Array, nics: readonly ProbedNic[]): Uint8Array {
  const numbered = nics.map(({ id, netdev }) => {
    const bytes = Buffer.from(`..${netdev}\0`)
    bytes.writeUInt16LE(id)
    return bytes
  })
  return Buffer.concat([nonce.subarray(0, NONCE_LENGTH), ...numbered])
}
