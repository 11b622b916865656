import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'

const TAKEN = 75

export interface LockOptions {
  signal?: AbortSignal
  /** Called once when somebody else has the lock. */
  onWait?: () => void
}

/**
 * Runs `action` while holding the lock file, which is made where there is none and never deleted. A
 * helper program holds it; the kernel ends that with this process, however this process ends.
 */
export async function withLock<T>(
  host: Host,
  file: string,
  action: () => Promise<T>,
  { signal, onWait }: LockOptions = {},
): Promise<T> {
  let held = await hold(host, file, ['--nonblock', '--conflict-exit-code', `${TAKEN}`], signal)
  if (!held) {
    onWait?.()
    held = await hold(host, file, [], signal)
  }
  if (!held) throw new InfrastructureError(`${file} could not be locked`)
  try {
    return await action()
  } finally {
    await held.release()
  }
}

/** Undefined when somebody else has the lock and `how` says not to wait. */
async function hold(host: Host, file: string, how: string[], signal?: AbortSignal) {
  const stop = new AbortController()
  const either = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal
  const { promise: locked, resolve: onLocked } = Promise.withResolvers<'locked'>()
  const ended = host.run(
    'flock',
    [...how, '--no-fork', file, 'sh', '-c', 'echo locked; exec sleep infinity'],
    { signal: either, onOutput: (text) => text.includes('locked') && onLocked('locked') },
  )
  const first = await Promise.race([locked, ended])
  if (first === 'locked') {
    return {
      release: async () => {
        stop.abort()
        await ended.catch(() => {}) // it was told to stop
      },
    }
  }
  if (first.exitCode === TAKEN) return undefined
  throw new InfrastructureError(`cannot lock ${file}`, { command: 'flock', tail: first.stderr })
}
