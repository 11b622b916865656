import { AsyncLocalStorage } from 'node:async_hooks'
import { Mutex } from 'async-mutex'
import { InfrastructureError, UsageError } from '../errors.ts'
import type { Host, HostLock } from '../host/host.ts'
import { stopSignal } from '../scope.ts'
import { waitFor } from '../wait.ts'
import { lockPath } from './folder.ts'
import { describeHolder, holderNote } from './holder.ts'

export interface SectionOptions {
  /** Milliseconds to wait for the section; 10 minutes where not given. */
  timeoutMs?: number
  /** Ends the wait, not what runs inside. */
  signal?: AbortSignal
  /** Called once when somebody else is inside and this call begins to wait. */
  onWait?: () => void
}

const PATIENCE_MS = 600_000

// One for each lock file: within a process it gives turns in order and for nothing, so that only one
// of its callers at a time needs a flock(1).
const mutexes = new Map<string, Mutex>()

interface Inside {
  key: string
  running: boolean
  outer: Inside | undefined
}
const inside = new AsyncLocalStorage<Inside>()

/**
 * Runs `fn` while nothing else on the host, in any process of any user, is inside the section of the
 * same name. However a process ends, the kernel lets the next one in.
 *
 * @throws InfrastructureError when the section was not free in time; it names who is inside
 * @throws UsageError when it is entered from inside itself, which would never end
 */
export async function section<T>(
  host: Host,
  name: string,
  fn: () => Promise<T> | T,
  { timeoutMs = PATIENCE_MS, signal: given, onWait }: SectionOptions = {},
): Promise<T> {
  const path = await lockPath(host, `section-${name}`)
  const key = `${host.name} ${path}`
  refuseNesting(key, name)
  const release = await enter({
    ...{ host, name, path, key, timeoutMs, onWait },
    signal: stopSignal(given),
  })
  const here: Inside = { key, running: true, outer: inside.getStore() }
  try {
    return await inside.run(here, fn)
  } finally {
    here.running = false
    await release()
  }
}

function refuseNesting(key: string, name: string): void {
  for (let at = inside.getStore(); at !== undefined; at = at.outer) {
    if (at.key === key && at.running) {
      throw new UsageError(`section '${name}' is entered from inside itself`, {
        hint: 'do the inner work directly: the section is already yours',
      })
    }
  }
}

interface Entry {
  host: Host
  name: string
  path: string
  key: string
  timeoutMs: number
  signal?: AbortSignal
  onWait?: () => void
}

class TooLong extends Error {}

async function enter(entry: Entry): Promise<() => Promise<void>> {
  const { host, name, path, timeoutMs, signal } = entry
  const stopped = new AbortController()
  const startedAt = performance.now()
  const taking = take(entry, stopped.signal)
  try {
    return await waitFor(taking, { timeoutMs, signal, onTimeout: () => new TooLong() })
  } catch (error) {
    stopped.abort()
    taking.then((release) => release()).catch(() => {}) // it may have come through after all
    if (!(error instanceof TooLong)) throw error
    throw new InfrastructureError(
      `section '${name}' was not free: ${await describeHolder(host, path)}`,
      {
        dut: host.name,
        elapsedMs: performance.now() - startedAt,
        hint: 'let that run end, or end it: the section is free as soon as its process is gone',
      },
    )
  }
}

/** Takes the turn within the process, then the lock of the host; gives up both when told to. */
async function take(
  { host, path, key, onWait }: Entry,
  stopped: AbortSignal,
): Promise<() => Promise<void>> {
  const mutex = mutexes.get(key) ?? new Mutex()
  mutexes.set(key, mutex)
  let told = false
  const tell = () => {
    if (!told) onWait?.()
    told = true
  }
  if (mutex.isLocked()) tell()
  const turn = await mutex.acquire()
  try {
    stopped.throwIfAborted()
    const lock = await takeLock(host, path, { note: holderNote(), signal: stopped, tell })
    return () => lock.release().finally(turn)
  } catch (error) {
    turn()
    throw error
  }
}

async function takeLock(
  host: Host,
  path: string,
  { tell, ...options }: { note: string; signal: AbortSignal; tell: () => void },
): Promise<HostLock> {
  const free = await host.lock(path, { ...options, wait: false })
  if (free !== undefined) return free
  tell()
  return host.lock(path, options)
}
