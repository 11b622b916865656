// Enters the section named, says so, and stays until told a line. Further words: `shared`, and `child`
// to start a program first that outlives it.
import { spawn } from 'node:child_process'
import { localHost } from '../../src/host/local.ts'
import { section } from '../../src/lease/section.ts'
import { nextLine } from './process.ts'

const [name = '', ...how] = process.argv.slice(2)
const owner = { run: 'a1b2c3', suite: 'b.spec.ts' }
const stay = async () => {
  const left = how.includes('child')
    ? spawn('tail', ['-f', '/dev/null'], { detached: true, stdio: 'ignore' }).pid
    : ''
  console.log(`inside ${left}`)
  await nextLine()
}
await section(localHost(), name, stay, { shared: how.includes('shared'), owner })
console.log('outside')
process.exit()
