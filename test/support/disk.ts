import { join } from 'node:path'
import { defaultCacheDir } from '../../src/host/cache-dir.ts'
import { localHost } from '../../src/host/local.ts'
import { ensureGuest } from '../../src/image/guest.ts'
import { readRecipe } from '../../src/image/recipe.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/disk')

/** Users of the disk, and their passwords. */
export const ROOT = { user: 'root', password: 'dut' }
export const TESTER = { user: 'tester', password: 'tester' }

/**
 * A disk as users have them, Debian with systemd and a login on its serial line; built the first time.
 * Its kernel and its initramfs are there as files, too.
 */
export async function debianDisk(): Promise<{ disk: string; kernel: string; initrd: string }> {
  const recipe = await readRecipe(FOLDER)
  const build = async ({ host, folder, onProgress }: Parameters<BuildDisk>[0]) => {
    onProgress('packages, which takes a minute')
    const { exitCode, stdout, stderr } = await host.run(join(FOLDER, 'build.sh'), [folder], {
      leash: true,
    })
    if (exitCode !== 0) throw new Error(`build.sh ended with ${exitCode}:\n${stdout}\n${stderr}`)
    return { rootFormat: 'squashfs' as const, release: '' }
  }
  const { root, kernel, initrd } = await ensureGuest({
    host: localHost(),
    cacheDir: join(defaultCacheDir(), 'test-disk'),
    custom: { recipe, build },
    onProgress: (line) => console.log(line.replace('guest', "the tests' disk")),
  })
  return { disk: root, kernel, initrd }
}

type BuildDisk = NonNullable<Parameters<typeof ensureGuest>[0]['custom']>['build']
