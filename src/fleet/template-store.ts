import { defaultCacheDir } from '../host/cache-dir.ts'
import type { Host } from '../host/host.ts'
import { userId } from '../host/user.ts'
import { parseSize } from '../units.ts'
import type { TemplateStore } from '../vm/instance/host-services.ts'
import { dropSome } from '../vm/template/store.ts'
import { openOwnFolder } from './own-folder.ts'

/** Memory that is a file: a clone maps it, and what it does not change is there once for all. */
const SHM = '/dev/shm'
/** Containers mostly have 64M there, which is too little for one template. */
const LEAST_SHM = '1G'
const MOST = '8G'
const VARIABLE = 'VITEST_DUT_TEMPLATES'

/**
 * Where the templates of this user are on a host: the folder that `VITEST_DUT_TEMPLATES` names, or one in
 * /dev/shm or, where that is small, in the cache. They take a quarter of its file system at most.
 *
 * @throws InfrastructureError where the folder is not this user's alone
 */
export async function openTemplateStore(host: Host, cacheDir?: string): Promise<TemplateStore> {
  const inShm = `${SHM}/vitest-dut-${userId()}`
  const inCache = () => `${cacheDir ?? defaultCacheDir()}/templates`
  const path = process.env[VARIABLE] || ((await isLarge(host)) ? inShm : inCache())
  await openOwnFolder(host, { path, what: 'folder of templates', variable: VARIABLE })
  return { path, limit: Math.min(parseSize(MOST), (await sizeOf(host, path)) / 4) }
}

/**
 * Drops templates that nobody uses, where they are in memory: what can be made again is not to keep VMs
 * waiting.
 *
 * @returns whether that gave memory back
 */
export async function dropForMemory(
  host: Host,
  opening: Promise<TemplateStore>,
  bytes: number,
): Promise<boolean> {
  const path = (await opening.catch(() => undefined))?.path
  if (path === undefined) return false // where they cannot be kept there are none
  const { stdout } = await host.run('stat', ['--file-system', '--format=%T', '--', path])
  return stdout.trim() === 'tmpfs' && (await dropSome(host, path, bytes)) > 0
}

async function isLarge(host: Host): Promise<boolean> {
  const facts = await host.fileFacts(SHM)
  return facts?.writable === true && (await sizeOf(host, SHM)) >= parseSize(LEAST_SHM)
}

/** Bytes of the file system that a folder is in. */
async function sizeOf(host: Host, path: string): Promise<number> {
  const { stdout } = await host.run('df', ['--output=size', '--block-size=1', '--', path])
  return Number.parseInt(stdout.split('\n')[1] ?? '', 10) || 0
}
