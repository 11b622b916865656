import { stat } from 'node:fs/promises'
import type { EnsureGuestOptions } from '../../src/image/guest.ts'
import { poll } from '../../src/wait.ts'

/** A guest of three small files, whose build takes as long as a file named `go` is missing. */
export function fakeGuest({ log, go }: { log: string; go?: string }) {
  const key = 'f'.repeat(64)
  const custom: EnsureGuestOptions['custom'] = {
    recipe: { key, files: new Map(), suite: 'none', architecture: 'amd64' },
    build: async ({ host, folder, onProgress, signal }) => {
      await host.run('sh', ['-c', 'echo built >>"$1"', 'sh', log])
      await host.writeFile(`${folder}/kernel`, 'half')
      onProgress('building')
      if (go !== undefined) {
        await poll(
          () =>
            stat(go).then(
              () => true as const,
              () => undefined,
            ),
          {
            signal,
            timeoutMs: 20_000,
          },
        )
      }
      for (const name of ['kernel', 'initrd', 'root']) {
        await host.writeFile(`${folder}/${name}`, `whole ${name}`)
      }
      return { rootFormat: 'squashfs', release: '0.0' }
    },
  }
  return custom
}
