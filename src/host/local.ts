import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { constants } from 'node:os'
import type { Duplex } from 'node:stream'
import type { Exit, Host, Listener, RunOptions, RunResult } from './host.ts'
import { lock } from './lock.ts'
import { missing } from './missing.ts'
import { portFree } from './port-free.ts'
import { openPty } from './pty.ts'

/** This machine. */
export function localHost(): Host {
  return {
    name: 'this machine',
    run,
    openPty,
    readFile: (path) => readFile(path),
    writeFile: atomicWrite,
    makeDir: async (path, mode) => void (await mkdir(path, { recursive: true, mode })),
    listDir: (path) => readdir(path).catch(orEmpty),
    remove: (path) => rm(path, { recursive: true, force: true }),
    listen,
    lock,
    portFree,
  }
}

async function run(
  file: string,
  args: readonly string[],
  { cwd, env, input, signal, onOutput }: RunOptions = {},
): Promise<RunResult> {
  // execa takes 100 ms to load, which a worker that only drives consoles need not pay at its start.
  const { execa } = await import('execa')
  const child = execa('setpriv', ['--pdeathsig', 'KILL', '--', file, ...args], {
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env }),
    ...(signal === undefined ? {} : { cancelSignal: signal }),
    input: input ?? '',
    reject: false,
    stripFinalNewline: false,
    forceKillAfterDelay: 1000,
  })
  if (onOutput) {
    child.stdout.on('data', (chunk) => onOutput(String(chunk)))
    child.stderr.on('data', (chunk) => onOutput(String(chunk)))
  }
  const result = await child
  signal?.throwIfAborted()
  if (isMissing(result, file)) throw missing(file)
  const ended: Exit = result.signal
    ? { exitCode: 128 + constants.signals[result.signal], signal: result.signal }
    : { exitCode: result.exitCode ?? 1 }
  return { ...ended, stdout: result.stdout, stderr: result.stderr }
}

// setpriv says so itself, with the status that a shell would give.
function isMissing({ exitCode, stderr }: { exitCode?: number; stderr: string }, file: string) {
  return exitCode === 127 && stderr.startsWith(`setpriv: failed to execute ${file}`)
}

async function atomicWrite(path: string, data: string | Uint8Array, mode = 0o644): Promise<void> {
  const draft = `${path}.${process.pid}.${crypto.randomUUID().slice(0, 8)}`
  await writeFile(draft, data, { mode, flag: 'wx' })
  await rename(draft, path)
}

function orEmpty(error: NodeJS.ErrnoException): string[] {
  if (error.code === 'ENOENT') return []
  throw error
}

function listen(path: string): Promise<Listener> {
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
