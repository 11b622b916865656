// Waits for a line, then enters the section named again and again, and looks each time whether
// anybody is inside who may not be. All of it through files of a folder that it shares with others:
//   counter    in a way that loses counts as soon as two add to it at once
//   writer     there while somebody is inside alone
//   reader-…   there while somebody shares it
//   log        a line for each entry
// At the end it prints its waits, in milliseconds and in entries of others meanwhile, and how many
// readers it saw inside at most.
import { appendFile, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { localHost } from '../../src/host/local.ts'
import { section } from '../../src/lease/section.ts'
import { poll } from '../../src/wait.ts'
import { nextLine } from './process.ts'

const [name = '', folder = '', times, ...how] = process.argv.slice(2)
const shared = how.includes('shared')
const host = localHost()
const waits: number[] = []
const passed: number[] = []
let mostReaders = 0
let entries = 0

const readers = async () =>
  (await readdir(folder)).filter((file) => file.startsWith('reader-')).length
const isThere = async (file: string) => (await readdir(folder)).includes(file)
const logged = async () => (await readFile(`${folder}/log`, 'utf8')).length

async function alone() {
  await writeFile(`${folder}/writer`, '', { flag: 'wx' })
  if ((await readers()) > 0) throw new Error('a reader is inside, too')
  const seen = Number(await readFile(`${folder}/counter`, 'utf8'))
  await appendFile(`${folder}/log`, 'w')
  await writeFile(`${folder}/counter`, String(seen + 1))
  await rm(`${folder}/writer`)
}

async function together() {
  const mine = `${folder}/reader-${process.pid}-${entries++}`
  await writeFile(mine, '')
  if (await isThere('writer')) throw new Error('a writer is inside, too')
  await appendFile(`${folder}/log`, 'r')
  mostReaders = Math.max(mostReaders, await readers())
  // Stays until another comes, where one can: readers that keep coming are never all outside.
  const before = await logged()
  await poll(async () => ((await logged()) > before ? true : undefined), {
    ...{ timeoutMs: 50, everyMs: 1 },
  }).catch(() => {})
  if (await isThere('writer')) throw new Error('a writer came in')
  await rm(mine)
}

async function enter() {
  const before = await logged()
  const askedAt = performance.now()
  await section(
    host,
    name,
    async () => {
      waits.push(performance.now() - askedAt)
      passed.push((await logged()) - before)
      return shared ? together() : alone()
    },
    { shared },
  )
}

await section(host, `${name} of ${process.pid}`, () => {}) // what only the first entry costs
console.log('ready')
await nextLine()
if (how.includes('at once')) await Promise.all(Array.from({ length: Number(times) }, enter))
else {
  let told = false
  if (times === 'until told') void nextLine().then(() => (told = true))
  for (let i = 0; times === 'until told' ? !told : i < Number(times); i++) await enter()
}
console.log(JSON.stringify({ waits, passed, mostReaders }))
process.exit()
