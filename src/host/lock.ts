import { spawn } from 'node:child_process'
import { closeSync, constants, fchmodSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { InfrastructureError } from '../errors.ts'
import type { HostLock, LockOptions } from './host.ts'
import { missing } from './missing.ts'

const TAKEN = 75 // EX_TEMPFAIL, which flock(1) gives for nothing else
const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants

/**
 * Takes the lock of flock(2) on a file of this machine. A short-lived flock(1) takes it on our own
 * open file description, so that no process is kept for it, nobody else can let go of it, and the
 * kernel does so when this process ends, however that happens.
 */
export function lock(
  path: string,
  options: LockOptions & { wait: false },
): Promise<HostLock | undefined>
export function lock(path: string, options?: LockOptions): Promise<HostLock>
export async function lock(
  path: string,
  { wait = true, note, signal }: LockOptions = {},
): Promise<HostLock | undefined> {
  signal?.throwIfAborted()
  const { fd, writable } = open(path)
  try {
    if (!(await flock(fd, path, wait, signal))) {
      closeSync(fd)
      return undefined
    }
    signal?.throwIfAborted()
    if (writable && note !== undefined) writeNote(fd, note)
  } catch (error) {
    closeSync(fd)
    throw error
  }
  let held = true
  return {
    release: async () => {
      if (!held) return
      held = false
      if (writable) ftruncateSync(fd)
      closeSync(fd)
    },
  }
}

// Never O_CREAT on a file that exists: where fs.protected_regular is set (see proc(5)), that fails
// for another user's file in a sticky folder, root included.
function open(path: string): { fd: number; writable: boolean } {
  for (;;) {
    try {
      return { fd: openSync(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK), writable: true }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EISDIR') {
        return { fd: openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), writable: false }
      }
      if (code !== 'ENOENT') throw unusable(path, error)
    }
    try {
      const fd = openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o666)
      fchmodSync(fd, 0o666) // the umask must not keep other users out
      return { fd, writable: true }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw unusable(path, error)
    }
  }
}

function unusable(path: string, cause: unknown): InfrastructureError {
  return new InfrastructureError(`the lock file ${path} cannot be opened: ${String(cause)}`, {
    hint: 'set VITEST_DUT_LOCK_DIR to a folder that every user of this machine can write',
    cause,
  })
}

function writeNote(fd: number, note: string): void {
  ftruncateSync(fd)
  writeSync(fd, note, 0)
}

/** True when the lock was got, false when it is taken and `wait` is false. */
function flock(fd: number, path: string, wait: boolean, signal?: AbortSignal): Promise<boolean> {
  const how = wait ? [] : ['--nonblock', '--conflict-exit-code', String(TAKEN)]
  const args = ['--pdeathsig', 'KILL', '--', 'flock', '--exclusive', ...how, '3']
  const child = spawn('setpriv', args, { stdio: ['ignore', 'ignore', 'pipe', fd] })
  const stop = () => void child.kill('SIGKILL')
  signal?.addEventListener('abort', stop, { once: true })
  let complaint = ''
  child.stderr?.on('data', (chunk) => {
    complaint += chunk
  })
  return new Promise<boolean>((resolve, reject) => {
    child.once('error', () => reject(missing('setpriv')))
    child.once('close', (code) => {
      if (code === 0) resolve(true)
      else if (signal?.aborted) reject(signal.reason)
      else if (code === TAKEN) resolve(false)
      else if (code === 127) reject(missing('flock'))
      else reject(new InfrastructureError(`flock(1) failed on ${path}`, { tail: complaint }))
    })
  }).finally(() => signal?.removeEventListener('abort', stop))
}
