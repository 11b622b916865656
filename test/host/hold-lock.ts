// Takes the lock on the file named, says so, and stays.
import { localHost } from '../../src/host/local.ts'
import { nextLine } from '../lease/process.ts'

await localHost().lock(process.argv[2] ?? '', { note: 'a process that will be killed' })
console.log('held')
await nextLine()
