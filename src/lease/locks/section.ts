import { AsyncLocalStorage } from 'node:async_hooks'
import { Mutex } from 'async-mutex'
import { AbortController } from '../../abort.ts'
import { InfrastructureError, UsageError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import { stopSignal } from '../../scope.ts'
import { performance } from '../../time.ts'
import { type Duration, parseDuration } from '../../units.ts'
import { waitFor } from '../../wait.ts'
import { lockPath } from './folder.ts'
import { describeHolder, holderNote, type Owner } from './holder.ts'

export interface SectionOptions {
  /** The longest wait for the section; 10 minutes where not given. */
  timeout?: Duration
  /** Ends the wait, not what runs inside. */
  signal?: AbortSignal
  /** True: others that share it may be inside at once, and none that does not. */
  shared?: boolean
  /** Told to those who wait while this call is inside; not where it is shared. */
  owner?: Owner
  /** Called about every second of a wait with a line that says who is inside; not before the first. */
  onWait?: (text: string) => void
}

const PATIENCE = '10m'
const TELL_EACH_MS = 1000

// One for each lock file: within a process it gives turns in order and for nothing, so that only one
// of its callers at a time needs a flock(1). Who shares gives it on as soon as they are inside.
const mutexes = new Map<string, Mutex>()

interface Inside {
  key: string
  running: boolean
  outer: Inside | undefined
}
const inside = new AsyncLocalStorage<Inside>()

/**
 * Runs `fn` while nothing else on the host, in any process of any user, is inside the section of the
 * same name; where it is shared, nothing that does not share it. However a process ends, the kernel
 * lets the next one in.
 *
 * @throws InfrastructureError when the section was not free in time; it names who is inside
 * @throws UsageError when it is entered from inside itself, which would never end, shared or not
 */
export async function section<T>(
  host: Host,
  name: string,
  fn: () => Promise<T> | T,
  { timeout = PATIENCE, signal, shared = false, owner, onWait }: SectionOptions = {},
): Promise<T> {
  const timeoutMs = parseDuration(timeout, 'timeout')
  const path = await lockPath(host, `section-${name}`)
  const line = await lockPath(host, `line-${name}`)
  const key = `${host.name} ${path}`
  refuseNesting(key, name)
  const release = await enter({
    ...{ host, name, path, line, key, timeoutMs, shared, owner, onWait },
    signal: stopSignal(signal),
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
  line: string
  key: string
  timeoutMs: number
  shared: boolean
  owner?: Owner
  signal?: AbortSignal
  onWait?: (text: string) => void
}

type Release = () => Promise<void>

async function enter(entry: Entry): Promise<Release> {
  const stopped = new AbortController()
  const taking = take(entry, stopped.signal)
  try {
    return await patiently(entry, taking)
  } catch (error) {
    stopped.abort()
    taking.then((release) => release()).catch(() => {}) // it may have come through after all
    throw error
  }
}

class StillWaiting extends Error {}

/** Waits for `taking`, and tells each second of it who is inside. */
async function patiently(entry: Entry, taking: Promise<Release>): Promise<Release> {
  const { host, name, path, timeoutMs, signal, onWait } = entry
  const startedAt = performance.now()
  for (;;) {
    const leftMs = timeoutMs - (performance.now() - startedAt)
    const wait = { timeoutMs: Math.min(leftMs, TELL_EACH_MS), signal }
    try {
      return await waitFor(taking, { ...wait, onTimeout: () => new StillWaiting() })
    } catch (error) {
      if (!(error instanceof StillWaiting)) throw error
    }
    const holder = await describeHolder(host, path)
    if (leftMs > TELL_EACH_MS) {
      onWait?.(`waits for section '${name}': ${holder}`)
      continue
    }
    throw new InfrastructureError(`section '${name}' was not free: ${holder}`, {
      dut: host.name,
      elapsedMs: performance.now() - startedAt,
      hint: 'let that run end, or end it: the section is free as soon as its process is gone',
    })
  }
}

/**
 * Takes the turn within the process, then the lock of the host; gives up both when told to. All stand
 * in one line, since readers that keep coming would otherwise keep out a writer for ever.
 */
async function take(
  { host, path, line, key, shared, owner }: Entry,
  signal: AbortSignal,
): Promise<Release> {
  const mutex = mutexes.get(key) ?? new Mutex()
  mutexes.set(key, mutex)
  const turn = await mutex.acquire()
  try {
    signal.throwIfAborted()
    const lock = await host.lock(path, { shared, line, note: () => holderNote(owner), signal })
    if (shared) turn()
    return () => lock.release().finally(turn)
  } catch (error) {
    turn()
    throw error
  }
}
