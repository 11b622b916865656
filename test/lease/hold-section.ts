// Enters the section named, says so, and stays until told a line. With a second argument it first
// starts a program that outlives it.
import { spawn } from 'node:child_process'
import { localHost } from '../../src/host/local.ts'
import { section } from '../../src/lease/section.ts'
import { nextLine } from './process.ts'

const [name = '', child] = process.argv.slice(2)
await section(localHost(), name, async () => {
  const left = child && spawn('tail', ['-f', '/dev/null'], { detached: true, stdio: 'ignore' })
  console.log(`inside ${left ? left.pid : ''}`)
  await nextLine()
})
console.log('outside')
process.exit()
