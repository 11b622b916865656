import { createConnection, createServer, type Server, type Socket } from 'node:net'
import type { Progress } from '../fleet/progress.ts'

/** What workers and the main process tell each other while a run goes on, a JSON line each. */
export type ToMain =
  | { type: 'progress'; suite: string; progress: Progress }
  /** A suite's VMs are ready, and are to be in the closing table. */
  | { type: 'fleet'; suite: string; vms: { dut: string; vm: string; bootMs: number }[] }
export type ToWorker = { type: 'cancel'; reason: string }

/** The main process's end: hears all workers, and can tell them to stop what they are starting. */
export async function serveChannel(path: string, hear: (message: ToMain) => void) {
  const workers = new Set<Socket>()
  const server: Server = createServer((socket) => {
    workers.add(socket)
    readLines(socket, (message) => hear(message as ToMain))
    socket.once('close', () => workers.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  server.unref()
  return {
    tellAll: (message: ToWorker) => {
      for (const socket of workers) socket.write(`${JSON.stringify(message)}\n`)
    },
    /** Workers may still be cleaning up and talking: their connections are left to them. */
    close: () => void server.close(),
  }
}

/** A worker's end. It keeps nothing alive, and works on when the main process is gone. */
export function joinChannel(path: string, hear: (message: ToWorker) => void) {
  const socket = createConnection(path)
  socket.unref()
  readLines(socket, (message) => hear(message as ToWorker))
  return {
    tell: (message: ToMain) =>
      void (socket.writable && socket.write(`${JSON.stringify(message)}\n`)),
    close: () => void socket.end(),
  }
}

function readLines(socket: Socket, hear: (message: unknown) => void): void {
  let rest = ''
  socket.setEncoding('utf8')
  socket.on('error', () => {})
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) hear(JSON.parse(line))
  })
}
