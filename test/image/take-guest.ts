// A process that uses the fake guest until it is ended: node take-guest.ts CACHE LOG. It prints its
// folder, and a second line as soon as that is not whole any more.
import { readdir } from 'node:fs/promises'
import { localHost } from '../../src/host/local.ts'
import { ensureGuest } from '../../src/image/guest.ts'
import { poll } from '../../src/wait.ts'
import { fakeGuest } from './fake-recipe.ts'

const [cacheDir = '', log = ''] = process.argv.slice(2)
const { dir } = await ensureGuest({ host: localHost(), cacheDir, custom: fakeGuest({ log }) })
console.log(dir)
const files = await poll(async () => {
  const names = await readdir(dir).catch(() => [])
  return names.length === 4 ? undefined : names
})
console.log(`only ${files.length} files are left`)
