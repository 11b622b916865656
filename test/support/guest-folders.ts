import { mkdir, utimes, writeFile } from 'node:fs/promises'
import { readRecipe } from '../../src/image/recipe.ts'

/** Names of folders in a cache: the guest of this version of the package, and one of another. */
export const CURRENT = (await readRecipe()).key.slice(0, 16)
export const OLD = '0123456789abcdef'

/** A guest of 3000 bytes and its description, as a build has made it some days ago; its folder. */
export async function putGuest(cacheDir: string, name: string, daysAgo = 0): Promise<string> {
  const folder = `${cacheDir}/guest/${name}`
  await mkdir(folder, { recursive: true })
  for (const file of ['kernel', 'initrd', 'root']) {
    await writeFile(`${folder}/${file}`, 'x'.repeat(1000))
  }
  const about = { rootFormat: 'squashfs', release: '6.1.0-test', key: name }
  await writeFile(`${folder}/guest.json`, JSON.stringify(about))
  const then = Date.now() / 1000 - daysAgo * 86_400
  await utimes(folder, then, then)
  return folder
}

/** Size of what {@link putGuest} makes. */
export const GUEST_BYTES =
  3000 + JSON.stringify({ rootFormat: 'squashfs', release: '6.1.0-test', key: OLD }).length
