import type { ByteStream } from '../../src/console/stream.ts'

/** A byte stream that a test feeds, and what was typed into it. */
export function fedStream() {
  const listeners: ((data: Uint8Array) => void)[] = []
  const typed: string[] = []
  const stream: ByteStream = {
    onData: (listener) => void listeners.push(listener),
    write: (data) => void typed.push(Buffer.from(data).toString()),
  }
  return {
    stream,
    typed,
    feed: (data: string | Uint8Array) => {
      for (const listener of listeners) listener(Buffer.from(data))
    },
  }
}
