import { EventEmitter, once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { localHost } from '../../src/host/local.ts'
import { GuestAgentPort } from '../../src/qemu/guest-agent.ts'
import { waitFor } from '../../src/wait.ts'

export interface Request {
  execute: string
  arguments?: Record<string, unknown>
}

export interface AgentPeer {
  port: GuestAgentPort
  /** The port's stream. */
  near: Duplex
  /** The guest's end: what it writes is what the agent says. */
  far: Socket
  /** What was asked of it, synchronisations left aside. */
  requests: Request[]
  /** Ids of the synchronisations that it was asked for. */
  syncs: number[]
  /** How it answers a synchronisation; as qemu-ga does, unless a test changes it. */
  onSync: (id: number) => void
  say(message: unknown): void
  /** Resolves when it is asked for this the next time, which it then has had the chance to answer. */
  asked(command: string): Promise<unknown>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Both ends of a real socket, at one of which is what qemu-ga does: a byte 0xFF drops what it has read of
 * a line, with a complaint, and guest-sync-delimited is answered behind such a byte.
 *
 * @param onRequest answers a command, or not
 */
export async function openAgent(
  onRequest: (request: Request, peer: AgentPeer) => void = (_, peer) => peer.say({ return: {} }),
): Promise<AgentPeer> {
  const dir = await mkdtemp(join(tmpdir(), 'qga-'))
  const listener = await localHost().listen(`${dir}/qga`)
  const far = connect(`${dir}/qga`)
  const near = await waitFor(listener.connection, { timeoutMs: 10_000 })
  const heard = new EventEmitter()
  const peer: AgentPeer = {
    ...{ port: new GuestAgentPort(near, { vm: 'vm0' }), near, far, requests: [], syncs: [] },
    onSync: (id) => far.write(Buffer.from(`\xff${JSON.stringify({ return: id })}\n`, 'latin1')),
    say: (message) => void far.write(`${JSON.stringify(message)}\n`),
    asked: (command) => once(heard, command),
    [Symbol.asyncDispose]: async () => {
      far.destroy()
      near.destroy()
      await rm(dir, { recursive: true })
    },
  }
  let unread = ''
  far.setEncoding('latin1')
  far.on('data', (chunk) => {
    for (const char of String(chunk)) {
      if (char === '\xff') {
        peer.say({ error: { class: 'GenericError', desc: 'JSON parse error, stray character' } })
        unread = ''
      } else if (char !== '\n') unread += char
      else {
        const request = JSON.parse(unread) as Request
        unread = ''
        const { id } = (request.arguments ?? {}) as { id?: number }
        if (request.execute === 'guest-sync-delimited') {
          peer.syncs.push(id as number)
          peer.onSync(id as number)
        } else {
          peer.requests.push(request)
          onRequest(request, peer)
        }
        heard.emit(request.execute)
      }
    }
  })
  return peer
}
