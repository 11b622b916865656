import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'

/*
 * A cache's folder `guest` has of each guest: its folder KEY, which is always whole; KEY.draft-ID while
 * it is built or removed; and two lock files, which stay when the guest goes. KEY.lock is held by
 * whoever makes or removes something of it, KEY.use is shared by all who use it or are about to, and
 * held alone by whoever removes it.
 */

/** Digits of the recipe's key in these names. */
const KEY_LENGTH = 16
const NAME = new RegExp(`^([0-9a-f]{${KEY_LENGTH}})(\\.draft-[0-9a-f]{8})?$`)

/** The folder of all guests in a cache. */
export function guestsIn(cacheDir: string): string {
  return `${cacheDir}/guest`
}

/** The folder of a guest, among those of all guests. */
export function guestFolder(parent: string, key: string): string {
  return `${parent}/${key.slice(0, KEY_LENGTH)}`
}

export function lockFileOf(folder: string): string {
  return `${folder}.lock`
}

export function useFileOf(folder: string): string {
  return `${folder}.use`
}

/** A new name for what is not a whole guest, or not any more. */
export function draftOf(folder: string): string {
  return `${folder}.draft-${crypto.randomUUID().slice(0, 8)}`
}

/** What a name in the folder of all guests stands for; undefined where it is no guest's. */
export function readName(name: string): { key: string; draft: boolean } | undefined {
  const [, key, draft] = NAME.exec(name) ?? []
  return key === undefined ? undefined : { key, draft: draft !== undefined }
}

/** @throws InfrastructureError with what mv(1) says */
export async function rename(
  host: Host,
  from: string,
  to: string,
  signal?: AbortSignal,
): Promise<void> {
  const { exitCode, stderr } = await host.run('mv', ['-T', '--', from, to], { signal })
  if (exitCode !== 0) throw new InfrastructureError(`cannot rename ${from}: ${stderr}`)
}
