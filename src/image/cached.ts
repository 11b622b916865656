import { firstLine, InfrastructureError } from '../errors.ts'
import { defaultCacheDir } from '../host/cache-dir.ts'
import type { Host, HostLock } from '../host/host.ts'
import { ARCHS, type ArchName } from './arch.ts'
import {
  draftOf,
  guestFolder,
  guestsIn,
  lockFileOf,
  readName,
  rename,
  useFileOf,
} from './layout.ts'
import { readRecipe } from './recipe.ts'

/** A guest in a host's cache, or what an interrupted build of one left there. */
export interface CachedGuest {
  /** The first digits of its recipe's key. */
  key: string
  folder: string
  bytes: number
  /** When it was built, in milliseconds since the epoch. */
  builtAt: number
  /** Whether it is one that this version of the package uses. */
  current: boolean
  /** The processor that it is for; known of those that are current. */
  arch?: ArchName
  /** False for what an interrupted build left. */
  complete: boolean
}

export interface ListedGuest extends CachedGuest {
  /** Whether somebody uses, builds or removes it at this moment. */
  inUse: boolean
}

/** The guests of this version of the package, one for each processor. */
function currentRecipes(): Promise<{ arch: ArchName; key: string }[]> {
  const names = Object.values(ARCHS).map(({ name }) => name)
  return Promise.all(
    names.map(async (arch) => ({ arch, key: (await readRecipe(undefined, arch)).key })),
  )
}

/** What a cache holds, the newest first. */
export async function readCache(host: Host, cacheDir = defaultCacheDir()): Promise<CachedGuest[]> {
  const parent = guestsIn(cacheDir)
  const ours = await currentRecipes()
  const guests: CachedGuest[] = []
  for (const name of await host.listDir(parent)) {
    const named = readName(name) // the folder may be one that somebody chose: others are not ours
    const folder = `${parent}/${name}`
    const facts = named && (await host.fileFacts(folder))
    if (named === undefined || facts === undefined) continue
    const { key, draft } = named
    const arch = ours.find((our) => our.key.startsWith(key))?.arch
    guests.push({
      ...{ key, folder, bytes: await sizeOf(host, folder), builtAt: facts.mtimeMs },
      ...{ current: arch !== undefined, ...(arch && { arch }), complete: !draft },
    })
  }
  return guests.sort((a, b) => b.builtAt - a.builtAt)
}

/** What a cache holds, and which of it somebody has a lock of. */
export async function listGuests(host: Host, cacheDir?: string): Promise<ListedGuest[]> {
  const guests = await readCache(host, cacheDir)
  const held = await host.held(guests.flatMap(locksOf))
  return guests.map((guest) => {
    const locks = held.splice(0, locksOf(guest).length)
    return { ...guest, inUse: locks.includes(true) }
  })
}

export interface PruneOptions {
  cacheDir?: string
  /** Only says what it would remove. */
  dryRun?: boolean
}

/**
 * Removes from a cache what nobody uses, except for the current guest. Whoever uses one holds its lock,
 * as long as their process lives; so nobody's is taken away, and none is kept for somebody dead.
 *
 * @throws InfrastructureError where one may not be removed
 */
export async function pruneGuests(
  host: Host,
  { cacheDir, dryRun = false }: PruneOptions = {},
): Promise<{ removed: ListedGuest[]; kept: ListedGuest[] }> {
  const removed: ListedGuest[] = []
  const kept: ListedGuest[] = []
  for (const guest of await listGuests(host, cacheDir)) {
    const wanted = guest.current && guest.complete
    if (wanted || guest.inUse) kept.push(guest)
    else if (dryRun || (await removeUnused(host, guest))) removed.push(guest)
    else kept.push({ ...guest, inUse: true })
  }
  return { removed, kept }
}

async function removeUnused(host: Host, guest: CachedGuest): Promise<boolean> {
  const locks: HostLock[] = []
  const { folder, complete } = guest
  try {
    for (const file of locksOf(guest)) {
      const lock = await host.lock(file, { wait: false, note: String(process.pid) })
      if (lock === undefined) return false // since it was looked at, somebody has begun to use it
      locks.push(lock)
    }
    // Half of a guest must not be taken for a whole one, were we killed in the middle.
    const draft = complete ? draftOf(folder) : folder
    if (complete) await rename(host, folder, draft)
    await host.remove(draft)
    return true
  } catch (cause) {
    throw new InfrastructureError(`${folder} cannot be removed: ${firstLine(cause)}`, {
      cause,
      hint: 'whoever built it may remove it',
    })
  } finally {
    for (const lock of locks) await lock.release()
  }
}

/** The files whose locks whoever removes it must have, in the order in which they are taken. */
function locksOf({ folder, key, complete }: CachedGuest): string[] {
  const whole = guestFolder(folder.slice(0, folder.lastIndexOf('/')), key)
  return [lockFileOf(whole), ...(complete ? [useFileOf(whole)] : [])]
}

async function sizeOf(host: Host, folder: string): Promise<number> {
  const names = await host.listDir(folder)
  const facts = await Promise.all(names.map((name) => host.fileFacts(`${folder}/${name}`)))
  return facts.reduce((sum, file) => sum + (file?.size ?? 0), 0)
}
