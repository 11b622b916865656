import { defaultCacheDir } from '../../host/cache-dir.ts'
import { readCache } from '../../image/cached.ts'
import { findGuest } from '../../image/guest.ts'
import { checkTools } from '../../image/tools.ts'
import { roughSize } from '../output.ts'
import { type Check, degraded, failure, type Machine, missing, ok } from './check.ts'

const BUILD = 'npx vitest-dut guest build'

export const cache: Check = {
  name: 'guest cache',
  look: async (machine) => {
    const path = defaultCacheDir()
    const guests = await readCache(machine.host)
    const bytes = guests.reduce((sum, guest) => sum + guest.bytes, 0)
    const count = guests.length === 1 ? '1 guest' : `${guests.length} guests`
    const detail = `${path}: ${count}, ${roughSize(bytes)}`
    if (await canWrite(machine, path)) return ok(detail)
    return degraded(`${detail}; it cannot be written, so no guest can be built`)
  },
}

/** The first folder on the way up that is there decides whether those below it can be made. */
async function canWrite(machine: Machine, path: string): Promise<boolean> {
  const facts = await machine.host.fileFacts(path)
  if (facts !== undefined || path === '') return facts?.writable ?? false
  return canWrite(machine, path.slice(0, path.lastIndexOf('/')))
}

export const guest: Check = {
  name: 'guest',
  look: async ({ host }) => {
    const found = await findGuest(host)
    if (found === undefined) return degraded('not built yet: the first run would do it', BUILD)
    const { dir, kernel, initrd, root, release } = found
    for (const file of [kernel, initrd, root]) {
      const facts = await host.fileFacts(file)
      if (!facts?.readable) return missing(`${file} cannot be read`, `rm -r ${dir} && ${BUILD}`)
    }
    return ok(`${dir} (Linux ${release})`)
  },
}

/** A guest that is there needs no tools. */
export const tools: Check = {
  name: 'guest build',
  look: async (machine) => {
    const { host } = machine
    try {
      await checkTools(host)
      return ok('all programs that building the guest needs are there')
    } catch (error) {
      const finding = failure(machine, error)
      return (await findGuest(host)) ? { ...finding, status: 'degraded' } : finding
    }
  },
}
