// Takes the lock on the file named, shared where a second argument says so, says so, and stays.
import { localHost } from '../../src/host/local.ts'
import { nextLine } from '../lease/process.ts'

const [path = '', mode] = process.argv.slice(2)
await localHost().lock(path, { shared: mode === 'shared', note: 'a process that will be killed' })
console.log('held')
await nextLine()
