import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'

/** Megabytes. At its largest, a build has the unpacked packages and their archive side by side. */
const NEEDED = 1000

/** What to do where there is too little room for a guest. @param folder of all guests in the cache */
export function roomHint(folder: string): string {
  return (
    `make room on the disk of ${folder}, e.g. with npx vitest-dut guest prune, or set ` +
    'VITEST_DUT_CACHE to a folder on a larger one'
  )
}

/** @throws InfrastructureError where there is not enough room for building a guest in the folder */
export async function checkSpace(host: Host, folder: string, signal?: AbortSignal): Promise<void> {
  const args = ['--output=avail', '--block-size=M', '--', folder]
  const { stdout } = await host.run('df', args, { signal })
  const free = Number.parseInt(stdout.split('\n')[1] ?? '', 10)
  if (Number.isNaN(free) || free >= NEEDED) return // where df cannot tell, the build will
  throw new InfrastructureError(
    `cannot build the default guest in ${folder}: it needs about ${NEEDED}M of disk space, ${free}M are free`,
    { dut: host.name, hint: roomHint(folder) },
  )
}
