// A process that builds the fake guest: node builder.ts CACHE LOG GO
import { localHost } from '../../src/host/local.ts'
import { ensureGuest } from '../../src/image/guest.ts'
import { fakeGuest } from './fake-recipe.ts'

const [cacheDir = '', log = '', go = ''] = process.argv.slice(2)
await ensureGuest({
  host: localHost(),
  cacheDir,
  custom: fakeGuest({ log, go }),
  onProgress: (line) => console.log(line),
})
