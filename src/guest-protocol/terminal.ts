import type { ByteStream } from '../console/stream.ts'
import type { Agent } from './agent.ts'
import { agentError } from './agent-error.ts'
import { FromGuest } from './frames.ts'

/** A pseudo-terminal inside the guest, and the program that leads it. */
export interface GuestTerminal extends ByteStream {
  /** Resolves with the program's status when it has ended, or with 129 once it was closed. */
  readonly exited: Promise<number>
  /** Sends a signal to whatever is in the foreground. */
  kill(signal: number): void
  /** Hangs up: the terminal and everything in its session end. */
  close(): void
}

const ROWS = 50
/** 128 + SIGHUP: what the guest does to a terminal's programs when it is closed. */
const HUNG_UP = 129
const COLUMNS = 1000 // wide enough that nothing wraps

/**
 * @param command for the guest's shell; `''` opens an interactive shell
 * @param options.stderr `'apart'`: standard error is no terminal, and comes through `onStderr`
 */
export function openTerminal(
  agent: Agent,
  command: string,
  where: { vm?: string; dut?: string },
  { stderr = 'merged' }: { stderr?: 'merged' | 'apart' } = {},
): GuestTerminal {
  const listeners: ((data: Uint8Array) => void)[] = []
  const errorListeners: ((data: Uint8Array) => void)[] = []
  const exited = Promise.withResolvers<number>()
  exited.promise.catch(() => {})
  const channel = agent.open(({ type, payload }) => {
    if (type === FromGuest.out) for (const listener of listeners) listener(payload)
    else if (type === FromGuest.err) for (const listener of errorListeners) listener(payload)
    else if (type === FromGuest.exit) exited.resolve(Buffer.from(payload).readInt32LE())
    else if (type === FromGuest.fail) exited.reject(agentError(payload, where))
    if (type === FromGuest.exit || type === FromGuest.fail) channel.forget()
  }, exited.reject)
  const how = Buffer.alloc(5)
  how.writeUInt16LE(ROWS, 0)
  how.writeUInt16LE(COLUMNS, 2)
  how.writeUInt8(stderr === 'apart' ? 1 : 0, 4)
  channel.send('pty', Buffer.concat([how, Buffer.from(command)]))
  return {
    onData: (listener) => void listeners.push(listener),
    onStderr: (listener) => void errorListeners.push(listener),
    write: (data) => channel.send('data', data),
    kill: (signal) => channel.send('signal', Uint8Array.of(signal)),
    exited: exited.promise,
    close: () => {
      channel.send('close')
      channel.forget() // the guest need not answer
      exited.resolve(HUNG_UP)
    },
  }
}
