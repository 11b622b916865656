// Leases ports, starts a program for each that keeps it, prints the ports once all of them run, and
// stays until told a line. With a fourth argument it stays between the choice and the start.
import { localHost } from '../../src/host/local.ts'
import { withPorts } from '../../src/lease/ports.ts'
import { holdLeases } from './hold-leases.ts'
import { nextLine } from './process.ts'

const [count, first, last, early] = process.argv.slice(2)
const host = localHost()
const range = [Number(first), Number(last)] as const
const chosen = Array.from({ length: Number(count) }, () =>
  withPorts({ host, wanted: [{}], range }, async ([lease]) => {
    if (lease === undefined) throw new Error('no lease came')
    if (early) {
      console.log(lease.port)
      await nextLine()
    }
    await holdLeases(host, [lease.lockFile]).up
    return lease.port
  }),
)
console.log((await Promise.all(chosen)).join(' '))
await nextLine()
process.exit()
