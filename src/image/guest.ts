import { firstLine, InfrastructureError } from '../errors.ts'
import { defaultCacheDir } from '../host/cache-dir.ts'
import type { Host } from '../host/host.ts'
import { performance } from '../time.ts'
import { formatDuration } from '../units.ts'
import { type ArchName, appendOf } from './arch.ts'
import { type BuildOptions, type Built, buildGuest } from './build.ts'
import { draftOf, guestFolder, guestsIn, lockFileOf, rename } from './layout.ts'
import { type Recipe, readRecipe } from './recipe.ts'
import { checkSpace } from './space.ts'
import { checkTools } from './tools.ts'
import { useGuest } from './use.ts'

/** The built-in guest on a host: paths of the host, to be read only. */
export interface Guest extends Built {
  dir: string
  kernel: string
  initrd: string
  /** The read-only root image, for a virtio-blk disk with the serial `vitest-dut-root`. */
  root: string
  /** The agent's program, for other guests. */
  agent: string
  architecture: ArchName
  /** See {@link appendOf}; add `dut.hostname=NAME`. */
  append: string
  /** sha256 over all that decides what is in it. */
  key: string
}

export interface EnsureGuestOptions {
  host: Host
  /**
   * A folder of the host. Default: `$VITEST_DUT_CACHE`, or `vitest-dut` in `$XDG_CACHE_HOME`, or in
   * `~/.cache`, as this process has them.
   */
  cacheDir?: string
  /** The processor that it is for; `'amd64'` where none is given. */
  architecture?: ArchName
  /** Gets short lines about what is under way; nothing when the guest is already there. */
  onProgress?: (line: string) => void
  signal?: AbortSignal
  /** Another recipe than the built-in one, with a way to build it. */
  custom?: { recipe: Recipe; build: (options: BuildOptions) => Promise<Built> }
}

/**
 * The built-in guest, built first where the host does not have it yet. One process at a time builds
 * and the others wait for it; a build that was interrupted is never used. A guest that is there costs
 * some milliseconds. Nobody removes it from the cache while the process that got it lives.
 *
 * @throws InfrastructureError when the host lacks programs for it, or the build fails
 */
export async function ensureGuest(options: EnsureGuestOptions): Promise<Guest> {
  const { host, signal, custom, architecture, cacheDir = defaultCacheDir() } = options
  const recipe = custom?.recipe ?? (await readRecipe(undefined, architecture))
  const parent = guestsIn(cacheDir)
  const dir = guestFolder(parent, recipe.key)
  await host.makeDir(parent).catch((cause) => {
    throw new InfrastructureError(`the cache ${parent} cannot be made: ${firstLine(cause)}`, {
      hint: 'set VITEST_DUT_CACHE to a folder that this user can write',
      cause,
    })
  })
  await useGuest(host, dir, signal)
  const found = await readGuest(host, dir)
  if (found) return found

  const progress = startProgress(options.onProgress)
  const lock = await takeLock(host, lockFileOf(dir), progress, signal)
  try {
    const made = await readGuest(host, dir)
    if (made) return made
    await sweepDrafts(host, dir)
    if (!custom) await checkTools(host, { signal, architecture })
    if (!custom) await checkSpace(host, parent, signal)
    const build = custom?.build ?? buildGuest
    await buildInto(dir, build, { host, recipe, onProgress: progress, signal })
    progress('ready')
  } finally {
    await lock.release()
  }
  const guest = await readGuest(host, dir)
  if (!guest) throw new InfrastructureError(`the guest in ${dir} is gone again`)
  return guest
}

/** The built-in guest where the host has it; nothing keeps it from being removed. */
export async function findGuest(
  host: Host,
  cacheDir = defaultCacheDir(),
  architecture?: ArchName,
): Promise<Guest | undefined> {
  const { key } = await readRecipe(undefined, architecture)
  return readGuest(host, guestFolder(guestsIn(cacheDir), key))
}

type Progress = (text: string) => void

function startProgress(onProgress: Progress = () => {}): Progress {
  const startedAt = performance.now()
  return (text) => {
    onProgress(`guest: ${text} (${formatDuration(performance.now() - startedAt)})`)
  }
}

async function takeLock(host: Host, file: string, progress: Progress, signal?: AbortSignal) {
  const note = `${process.pid}`
  const lock = await host.lock(file, { wait: false, note, signal })
  if (lock) return lock
  const builder = await host.readFile(file).catch(() => '')
  const pid = Buffer.from(builder).toString().trim()
  progress(`waiting for ${pid === '' ? 'another process' : `process ${pid}`}, which builds it`)
  return host.lock(file, { note, signal })
}

/** What builds that were killed left behind. Under the lock, so none of them is in use. */
async function sweepDrafts(host: Host, dir: string): Promise<void> {
  const [parent, name] = splitPath(dir)
  for (const entry of await host.listDir(parent)) {
    if (entry.startsWith(`${name}.draft-`)) await host.remove(`${parent}/${entry}`)
  }
}

/** Builds beside the final folder and renames, so that a folder with that name is always whole. */
async function buildInto(
  dir: string,
  build: (options: BuildOptions) => Promise<Built>,
  options: Omit<BuildOptions, 'folder'>,
): Promise<void> {
  const { host, recipe, signal } = options
  const draft = draftOf(dir)
  await host.makeDir(draft)
  try {
    const built = await build({ ...options, folder: draft })
    await host.writeFile(
      `${draft}/guest.json`,
      JSON.stringify({ ...built, architecture: recipe.architecture, key: recipe.key }),
    )
    await rename(host, draft, dir, signal)
  } catch (error) {
    await host.remove(draft).catch(() => {}) // the next build sweeps it
    throw error
  }
}

async function readGuest(host: Host, dir: string): Promise<Guest | undefined> {
  const content = await host.readFile(`${dir}/guest.json`).catch(() => undefined)
  if (!content) return undefined
  const {
    key,
    rootFormat,
    release,
    architecture = 'amd64', // what there was before there was another
  }: Built & Pick<Guest, 'key'> & Partial<Pick<Guest, 'architecture'>> = JSON.parse(
    Buffer.from(content).toString(),
  )
  const built = { kernel: `${dir}/kernel`, initrd: `${dir}/initrd` }
  const paths = { ...built, root: `${dir}/root`, agent: `${dir}/agent` }
  return { dir, ...paths, rootFormat, release, key, architecture, append: appendOf(architecture) }
}

function splitPath(path: string): [folder: string, name: string] {
  const slash = path.lastIndexOf('/')
  return [path.slice(0, slash), path.slice(slash + 1)]
}
