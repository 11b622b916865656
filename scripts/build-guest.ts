// Builds the default guest where this machine does not have it yet, so that no test waits for it.
import { localHost } from '../src/host/local.ts'
import { ensureGuest } from '../src/image/guest.ts'

// One line for each kind of work, not for each of its packages.
let last = ''
const onProgress = (line: string) => {
  const kind = line.replaceAll(/[\d.]+/g, '')
  if (kind !== last) console.log(`setup: ${line}`)
  last = kind
}

await ensureGuest({ host: localHost(), onProgress }).catch((error) => {
  console.error(`setup: ${error.message}`)
  process.exitCode = 1
})
