// Adds to a counter file, one at a time, in a way that loses counts as soon as two do it at once.
import { readFile, rm, writeFile } from 'node:fs/promises'
import { localHost } from '../../src/host/local.ts'
import { section } from '../../src/lease/section.ts'

const [name = '', file = '', times] = process.argv.slice(2)
const host = localHost()
const entries = Array.from({ length: Number(times) }, () =>
  section(host, name, async () => {
    const seen = Number(await readFile(file, 'utf8'))
    await writeFile(`${file}.inside`, '', { flag: 'wx' })
    await writeFile(file, String(seen + 1))
    await rm(`${file}.inside`)
  }),
)
await Promise.all(entries)
console.log('done')
