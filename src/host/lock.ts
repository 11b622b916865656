import { spawn } from 'node:child_process'
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  openSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { firstLine, InfrastructureError } from '../errors.ts'
import { BOUND } from './bound.ts'
import type { HostLock, LockOptions } from './host.ts'
import { missing } from './missing.ts'
import { run } from './run.ts'

const TAKEN = 75 // EX_TEMPFAIL, which flock(1) gives for nothing else
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants

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
  { wait = true, shared = false, line, note = '', signal }: LockOptions = {},
): Promise<HostLock | undefined> {
  signal?.throwIfAborted()
  const { fd, writable } = open(path)
  try {
    if (!(await flock({ fd, path, wait, shared, line, signal }))) {
      closeSync(fd)
      return undefined
    }
    signal?.throwIfAborted()
    const text = typeof note === 'string' ? note : note()
    // Also where there is nothing to write: what a holder that was killed left there is no longer true.
    if (writable) writeNote(fd, shared ? '' : text)
  } catch (error) {
    closeSync(fd)
    throw error
  }
  let held = true
  return {
    release: async () => {
      if (!held) return
      held = false
      if (writable && !shared) ftruncateSync(fd)
      closeSync(fd)
    },
  }
}

/** In a folder of many users anything can be in a lock file's place, and that is not written to. */
function open(path: string): { fd: number; writable: boolean } {
  const opened = openAny(path)
  const facts = fstatSync(opened.fd)
  if (facts.isFile() || facts.isDirectory()) return opened
  closeSync(opened.fd)
  throw unusable(path, new Error('it is neither a file nor a folder'))
}

// Never O_CREAT on a file that exists: where fs.protected_regular is set (see proc(5)), that fails
// for another user's file in a sticky folder, root included. flock(2) asks for no right to write, so
// what can only be read, such as a folder or another user's file, is locked through that.
function openAny(path: string): { fd: number; writable: boolean } {
  for (;;) {
    try {
      return { fd: openSync(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK), writable: true }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (READ_ONLY.includes(code ?? '')) return { fd: openToRead(path), writable: false }
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

const READ_ONLY = ['EISDIR', 'EACCES', 'EROFS']

function openToRead(path: string): number {
  try {
    return openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  } catch (error) {
    throw unusable(path, error)
  }
}

function unusable(path: string, cause: unknown): InfrastructureError {
  const { code } = cause as NodeJS.ErrnoException
  const strange = code === undefined || code === 'ELOOP' || code === 'ENXIO'
  return new InfrastructureError(`the lock file ${path} cannot be opened: ${firstLine(cause)}`, {
    hint: strange
      ? 'somebody put something else in its place: remove that'
      : `this user must be able to write to ${dirname(path)}; VITEST_DUT_LOCK_DIR, ` +
        'VITEST_DUT_RUN_DIR and VITEST_DUT_CACHE name other folders',
    cause,
  })
}

function writeNote(fd: number, note: string): void {
  ftruncateSync(fd)
  try {
    writeSync(fd, note, 0)
  } catch {
    ftruncateSync(fd) // the disk is full; the lock is held all the same
  }
}

interface Ask {
  fd: number
  path: string
  wait: boolean
  shared: boolean
  line?: string
  signal?: AbortSignal
}

/** True when the lock was got, false when it is taken and `wait` is false. */
async function flock(ask: Ask): Promise<boolean> {
  // Most are free, and one that does not wait needs a program less.
  if (await take({ ...ask, wait: false })) return true
  return ask.wait && take(ask)
}

function take({ fd, path, wait, shared, line, signal }: Ask): Promise<boolean> {
  const how = wait ? [] : ['--nonblock', '--conflict-exit-code', String(TAKEN)]
  const bare = ['flock', ...how, shared ? '--shared' : '--exclusive', '3']
  const lineFd = line === undefined ? undefined : open(line).fd
  // It locks the line for itself and not for us, so lets go of it in the moment it has what is ours.
  const inLine = ['flock', ...how, '--no-fork', '/proc/self/fd/4', ...bare]
  const command = lineFd === undefined ? bare : inLine
  // One that does not wait is over before it would need to be bound to us.
  const [file = '', ...args] = wait ? [...BOUND, ...command] : command
  const fds = lineFd === undefined ? [fd] : [fd, lineFd]
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe', ...fds] })
  if (lineFd !== undefined) closeSync(lineFd)
  const stop = () => void child.kill('SIGKILL')
  signal?.addEventListener('abort', stop, { once: true })
  let complaint = ''
  child.stderr?.on('data', (chunk) => {
    complaint += chunk
  })
  return new Promise<boolean>((resolve, reject) => {
    child.once('error', () => reject(missing(file)))
    child.once('close', (code) => {
      if (code === 0) resolve(true)
      else if (signal?.aborted) reject(signal.reason)
      else if (code === TAKEN) resolve(false)
      else if (code === 127) reject(missing('flock'))
      else reject(new InfrastructureError(`flock(1) failed on ${path}`, { tail: complaint }))
    })
  }).finally(() => signal?.removeEventListener('abort', stop))
}

// No lock is seen but by asking for one: /proc/locks hides those of other containers, and those that a
// flock(1) took for a descriptor and left. The file is opened by the shell, without O_CREAT, in the
// child that becomes flock(1), so that all is let go of as that ends. What is not a lock file is not
// opened: a link leads anywhere, and a pipe would wait for a writer.
const ASK_EACH = `
command -v flock >/dev/null || exit 127
for path; do
  if [ -L "$path" ]; then echo held
  elif [ ! -e "$path" ]; then echo free
  elif [ ! -f "$path" ] && [ ! -d "$path" ]; then echo held
  elif flock --nonblock --exclusive 3 3<"$path"; then echo free
  elif [ ! -e "$path" ]; then echo free
  else echo held
  fi
done 2>/dev/null`

/** See `Host.held`. */
export async function held(paths: readonly string[]): Promise<boolean[]> {
  if (paths.length === 0) return []
  const { exitCode, stdout, stderr } = await run('sh', ['-c', ASK_EACH, 'sh', ...paths])
  const answers = stdout.split('\n').slice(0, -1)
  if (exitCode === 127) throw missing('flock')
  if (exitCode !== 0 || answers.length !== paths.length) {
    throw new InfrastructureError('the locks of this machine cannot be looked at', { tail: stderr })
  }
  return answers.map((answer) => answer === 'held')
}
