import { InfrastructureError } from '../../errors.ts'
import type { Host, HostLock } from '../../host/host.ts'
import { formatSize } from '../../units.ts'
import type { TemplateStore } from '../instance/host-services.ts'
import { readFacts, type TemplateLabel, touchedAt } from './files.ts'

/*
 * The folder that all templates of a user are in. Whoever adds to it or takes away holds its lock; a
 * template's own lock is held, shared, by whoever keeps a copy of it, a draft's by its maker.
 */

/** A template as it lies there. */
export interface StoredTemplate {
  key: string
  folder: string
  /** Undefined where it is not whole: its maker died, or it is just being made. */
  label?: TemplateLabel
  /** What it takes of the disk, or of memory where that is a file. */
  bytes: number
  /** Milliseconds since 1970. */
  usedAt: number
  /** Whether a suite has a copy of it, or somebody makes it. */
  inUse: boolean
}

const KEY_LENGTH = 16
const WHOLE = /^[0-9a-f]{16}$/
/** Drafts, what is just being removed, and copies that lose their name at once. */
const PART = /^[0-9a-f]{16}\.(draft|(gone|copy)-\w{8})$/

/** Whatever is on the shelf, most recently used first. */
export async function listTemplates(host: Host, path: string): Promise<StoredTemplate[]> {
  const names = (await host.listDir(path)).filter((name) => WHOLE.test(name) || PART.test(name))
  const folders = names.map((name) => `${path}/${name}`)
  const held = await host.held(folders)
  const all = await Promise.all(
    folders.map(async (folder, i): Promise<StoredTemplate> => {
      const name = names[i] as string
      const facts = WHOLE.test(name) ? await readFacts(host, folder).catch(() => {}) : undefined
      return {
        key: name.slice(0, KEY_LENGTH),
        folder,
        ...(facts && { label: facts.label }),
        bytes: await bytesOf(host, folder),
        usedAt: await touchedAt(host, folder),
        inUse: held[i] === true,
      }
    }),
  )
  return all.sort((a, b) => b.usedAt - a.usedAt)
}

/** Removes what nobody uses. @param dryRun only tells what it would remove */
export function pruneTemplates(
  host: Host,
  path: string,
  { dryRun = false }: { dryRun?: boolean } = {},
): Promise<{ removed: StoredTemplate[]; kept: StoredTemplate[] }> {
  return withShelf(host, path, async () => {
    const all = await listTemplates(host, path)
    const removed = all.filter(({ inUse }) => !inUse)
    if (!dryRun) for (const { folder } of removed) await dropTemplate(host, folder)
    return { removed, kept: all.filter(({ inUse }) => inUse) }
  })
}

/**
 * Removes what makers left that died over it.
 *
 * @param dryRun only tells what it would remove
 * @returns folders
 */
export async function sweepTemplates(
  host: Host,
  path: string,
  { dryRun = false }: { dryRun?: boolean } = {},
): Promise<string[]> {
  const parts = async () => (await host.listDir(path)).filter((name) => PART.test(name))
  if ((await parts()).length === 0) return [] // mostly, and then nobody has to be waited for
  return withShelf(host, path, async () => {
    const folders = (await parts()).map((name) => `${path}/${name}`)
    const held = await host.held(folders)
    const dead = folders.filter((_, i) => !held[i])
    if (!dryRun) for (const folder of dead) await host.remove(folder)
    return dead
  })
}

/**
 * Makes an empty draft of a template, which is the caller's until its lock is released. Where the shelf is
 * full, those used longest ago go, but none that is in use.
 *
 * @param most bytes that the template may come to
 * @throws InfrastructureError where there is no room for it
 */
export function openDraft(
  host: Host,
  { path, limit }: TemplateStore,
  { key, most }: { key: string; most: number },
): Promise<{ folder: string; lock: HostLock }> {
  return withShelf(host, path, async () => {
    const folder = `${path}/${key}.draft`
    await host.remove(folder) // of one who died over it: a template has one maker at a time
    const left = await dropOldest(host, path, limit - most)
    const { stdout } = await host.run('df', ['--output=avail', '--block-size=1', '--', path])
    const room = Math.min(limit - left, Number.parseInt(stdout.split('\n')[1] ?? '', 10))
    if (!(room >= most)) {
      const [needs, has] = [most, Math.max(0, room)].map((bytes) =>
        formatSize(bytes - (bytes % 2 ** 20)),
      )
      throw new InfrastructureError(`a template needs up to ${needs}, and ${path} has ${has}`, {
        hint: 'set VITEST_DUT_TEMPLATES to a folder with more room, best one in memory',
      })
    }
    await host.makeDir(folder, 0o700)
    return { folder, lock: await host.lock(folder, { shared: true }) }
  })
}

/**
 * Drops as many as take so many bytes, those used longest ago first, but none that is in use.
 *
 * @returns bytes that they took
 */
export function dropSome(host: Host, path: string, bytes: number): Promise<number> {
  return withShelf(host, path, async () => {
    const all = await listTemplates(host, path)
    const total = all.reduce((sum, { bytes }) => sum + bytes, 0)
    return total - (await dropOldest(host, path, total - bytes))
  })
}

/** Nobody finds half of it: what has another name is no template. */
export async function dropTemplate(host: Host, folder: string): Promise<void> {
  const key = folder.slice(0, folder.lastIndexOf('/') + 1 + KEY_LENGTH)
  const gone = `${key}.gone-${crypto.randomUUID().slice(0, 8)}`
  const { exitCode } = await host.run('mv', ['-T', '--', folder, gone])
  await host.remove(exitCode === 0 ? gone : folder)
}

/** Drops those used longest ago until the rest fits, but none that is in use; bytes of the rest. */
async function dropOldest(host: Host, path: string, limit: number): Promise<number> {
  const all = await listTemplates(host, path)
  let total = all.reduce((sum, { bytes }) => sum + bytes, 0)
  for (const { folder, bytes, inUse } of all.toReversed()) {
    if (total <= limit) break
    if (inUse) continue
    await dropTemplate(host, folder)
    total -= bytes
  }
  return total
}

async function withShelf<T>(host: Host, path: string, fn: () => Promise<T>): Promise<T> {
  const lock = await host.lock(path)
  try {
    return await fn()
  } finally {
    await lock.release()
  }
}

async function bytesOf(host: Host, folder: string): Promise<number> {
  const { stdout } = await host.run('du', ['--summarize', '--block-size=1', '--', folder])
  return Number.parseInt(stdout, 10) || 0
}
