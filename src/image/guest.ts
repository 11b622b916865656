import { homedir } from 'node:os'
import { asError, InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import { formatDuration } from '../units.ts'
import { type BuildOptions, type Built, buildGuest } from './build.ts'
import { withLock } from './lock.ts'
import { type Recipe, readRecipe } from './recipe.ts'
import { checkTools } from './tools.ts'

/** The built-in guest on a host: paths of the host, to be read only. */
export interface Guest extends Built {
  dir: string
  kernel: string
  initrd: string
  /** The read-only root image, for a virtio-blk disk with the serial `vitest-dut-root`. */
  root: string
  /** The part of the kernel's command line that the guest wants; see {@link GUEST_APPEND}. */
  append: string
  /** sha256 over all that decides what is in it. */
  key: string
}

/**
 * What the guest wants on its kernel command line, measured under TCG: without checks of hardware
 * that an emulator does not have, and with stage markers and warnings on the serial console. Add
 * `dut.hostname=NAME`.
 */
export const GUEST_APPEND = ['console=ttyS0', 'loglevel=6', 'panic=-1'].join(' ')

export interface EnsureGuestOptions {
  host: Host
  /**
   * A folder of the host. Default: `$VITEST_DUT_CACHE`, or `vitest-dut` in `$XDG_CACHE_HOME`, or in
   * `~/.cache`, as this process has them.
   */
  cacheDir?: string
  /** Gets short lines about what is under way; nothing when the guest is already there. */
  onProgress?: (line: string) => void
  signal?: AbortSignal
  /** For tests: another recipe and another way to build it. */
  recipe?: Recipe
  build?: (options: BuildOptions) => Promise<Built>
}

/**
 * The built-in guest, built first where the host does not have it yet; one process at a time builds,
 * others wait for it. A guest that is there costs some milliseconds and no program is run.
 *
 * @throws InfrastructureError when the host lacks programs for it, or the build fails
 */
export async function ensureGuest(options: EnsureGuestOptions): Promise<Guest> {
  const { host, signal, cacheDir = defaultCacheDir(), build = buildGuest } = options
  const recipe = options.recipe ?? (await readRecipe())
  const parent = `${cacheDir}/guest`
  const name = recipe.key.slice(0, 16)
  const dir = `${parent}/${name}`
  const found = await read(host, dir)
  if (found) return found
  const progress = startProgress(options.onProgress)
  await host.makeDir(parent)
  const drafts = async () =>
    (await host.listDir(parent)).filter((entry) => entry.startsWith(`${name}.draft-`))
  const onWait = async () => {
    const pid = (await drafts())[0]?.split('-')[1]
    progress(`waiting for ${pid ? `process ${pid}` : 'another process'}, which builds it`)
  }
  const make = async () => {
    const made = await read(host, dir)
    if (made) return made
    for (const draft of await drafts()) await host.remove(`${parent}/${draft}`)
    if (build === buildGuest) await checkTools(host, signal)
    const draft = `${parent}/${name}.draft-${process.pid}-${crypto.randomUUID().slice(0, 8)}`
    await host.makeDir(draft)
    try {
      const built = await build({ host, recipe, folder: draft, onProgress: progress, signal })
      await host.writeFile(`${draft}/guest.json`, JSON.stringify({ ...built, key: recipe.key }))
      await move(host, draft, dir)
    } catch (error) {
      await host.remove(draft).catch(() => {}) // the next build sweeps it
      throw asError(error)
    }
    progress('ready')
    return await read(host, dir)
  }
  const guest = await withLock(host, `${dir}.lock`, make, {
    signal,
    onWait: () => void onWait().catch(() => {}),
  })
  if (!guest) throw new InfrastructureError(`the guest in ${dir} is gone again`)
  return guest
}

function startProgress(onProgress: (line: string) => void = () => {}) {
  const startedAt = performance.now()
  return (text: string) => {
    onProgress(`guest: ${text} (${formatDuration(performance.now() - startedAt)})`)
  }
}

// Written last and renamed with its folder, so where it is everything is.
async function read(host: Host, dir: string): Promise<Guest | undefined> {
  const content = await host.readFile(`${dir}/guest.json`).catch(() => undefined)
  if (!content) return undefined
  const { key, rootFormat, release } = JSON.parse(Buffer.from(content).toString())
  const [kernel, initrd, root] = ['kernel', 'initrd', 'root'].map((name) => `${dir}/${name}`)
  return { dir, kernel, initrd, root, rootFormat, release, key, append: GUEST_APPEND } as Guest
}

async function move(host: Host, from: string, to: string): Promise<void> {
  const { exitCode, stderr } = await host.run('mv', ['-T', '--', from, to])
  if (exitCode !== 0) throw new InfrastructureError(`cannot move ${from} to ${to}: ${stderr}`)
}

function defaultCacheDir(): string {
  const { VITEST_DUT_CACHE, XDG_CACHE_HOME } = process.env
  return VITEST_DUT_CACHE || `${XDG_CACHE_HOME || `${homedir()}/.cache`}/vitest-dut`
}
