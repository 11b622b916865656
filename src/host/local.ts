import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { Duplex } from 'node:stream'
import { InfrastructureError } from '../errors.ts'
import { fileFacts, findProgram } from './facts.ts'
import { type Host, type Listener, LONGEST_SOCKET_PATH } from './host.ts'
import { held, lock } from './lock.ts'
import { portFree } from './port-free.ts'
import { openPty } from './pty.ts'
import { run } from './run.ts'
import { appendShared, createShared, readShared } from './shared-files.ts'

/** This machine. */
export function localHost(): Host {
  return {
    name: 'this machine',
    run,
    openPty,
    readFile: (path) => readFile(path),
    writeFile: atomicWrite,
    makeDir,
    fileFacts,
    findProgram,
    listDir: (path) => readdir(path).catch(orEmpty),
    remove: (path) => rm(path, { recursive: true, force: true }),
    listen,
    readShared,
    createShared,
    appendShared,
    lock,
    held,
    portFree,
  }
}

async function makeDir(path: string, mode?: number): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode })
  } catch (error) {
    // Node says so also of a file system that is read-only or full; without `recursive` it does not.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    await mkdir(path, { mode })
  }
}

async function atomicWrite(path: string, data: string | Uint8Array, mode = 0o644): Promise<void> {
  const draft = `${path}.${process.pid}.${crypto.randomUUID().slice(0, 8)}`
  try {
    await writeFile(draft, data, { mode, flag: 'wx' })
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

function orEmpty(error: NodeJS.ErrnoException): string[] {
  if (error.code === 'ENOENT') return []
  throw error
}

async function listen(path: string): Promise<Listener> {
  const { length } = Buffer.from(path)
  if (length > LONGEST_SOCKET_PATH) {
    throw new InfrastructureError(
      `${path} is too long for a unix socket: ${length} bytes, the most is ${LONGEST_SOCKET_PATH}`,
      {
        hint: 'shorten the names in it, or set VITEST_DUT_RUN_DIR to a folder with a shorter path',
      },
    )
  }
  const server = createServer()
  const connection = new Promise<Duplex>((resolve, reject) => {
    server.once('connection', (socket) => {
      resolve(socket)
      server.close()
    })
    server.once('close', () => reject(new Error(`nobody connected to ${path}`)))
  })
  connection.catch(() => {}) // whoever closes early need not look at it
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => resolve({ connection, close: () => void server.close() }))
  })
}
