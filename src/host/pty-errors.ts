import { spawnSync } from 'node:child_process'
import { constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { missing } from './missing.ts'

/** Standard error of a program whose terminal is ours, apart from that terminal. */
export interface PtyErrors {
  /** The command that runs the program with its standard error there. */
  redirect(file: string, args: readonly string[]): [file: string, args: string[]]
  onData(listener: (data: Uint8Array) => void): void
  /** Gives out all that has been written up to now. */
  drain(): void
  /** Gives out the rest, and ends. */
  close(): void
}

const PIECE = 64 * 1024

/**
 * A pipe that nothing in the file system stands for. The program opens it by our descriptor (proc(5)),
 * because node-pty hands no descriptor on.
 */
export function openErrors(): PtyErrors {
  const fd = openPipe()
  const stream = new Socket({ fd, readable: true, writable: false })
  const listeners: ((data: Uint8Array) => void)[] = []
  const tell = (data: Uint8Array) => {
    for (const listener of listeners) listener(data)
  }
  stream.on('data', tell).on('error', () => {})
  const drain = () => {
    while (!stream.destroyed) {
      const data = readNow(fd)
      if (data.length === 0) return
      tell(data)
    }
  }
  return {
    redirect: (file, args) => {
      const script = 'exec 2>"$0" && exec "$@"'
      return ['sh', ['-c', script, `/proc/${process.pid}/fd/${fd}`, file, ...args]]
    },
    onData: (listener) => void listeners.push(listener),
    drain,
    close: () => {
      drain()
      stream.destroy()
    },
  }
}

function openPipe(): number {
  const dir = mkdtempSync(join(tmpdir(), 'dut-stderr-'))
  try {
    const path = join(dir, 'stderr')
    const { error, status } = spawnSync('mkfifo', ['-m', '600', path])
    if (error !== undefined || status !== 0) throw missing('mkfifo')
    // For both ends, so that it is there as long as we have it.
    return openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  } finally {
    rmSync(dir, { recursive: true })
  }
}

function readNow(fd: number): Uint8Array {
  const piece = Buffer.allocUnsafe(PIECE)
  try {
    return piece.subarray(0, readSync(fd, piece))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return piece.subarray(0, 0)
    throw error
  }
}
