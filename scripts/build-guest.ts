// Builds the default guest where this machine does not have it yet, so that no test waits for it; with
// names of processors, those for them as well.
import { localHost } from '../src/host/local.ts'
import type { ArchName } from '../src/image/arch.ts'
import { ensureGuest } from '../src/image/guest.ts'

// One line for each kind of work, not for each of its packages.
let last = ''
const onProgress = (line: string) => {
  const kind = line.replaceAll(/[\d.]+/g, '')
  if (kind !== last) console.log(`setup: ${line}`)
  last = kind
}

for (const name of new Set(['amd64', ...process.argv.slice(2)])) {
  const architecture = name as ArchName
  await ensureGuest({ host: localHost(), architecture, onProgress }).catch((error) => {
    console.error(`setup: ${error.message}`)
    process.exitCode = 1
  })
}
