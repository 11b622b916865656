// Is promised two VMs' parts of the host and something by the name given, and stays; where another has
// that, says that it waits. A further word is the process id that one of the VMs is said to be.
import { localHost } from '../../src/host/local.ts'
import { admit } from '../../src/lease/admit.ts'
import { readLedger } from '../../src/lease/records.ts'
import { poll } from '../../src/wait.ts'

const [name = '', qemu] = process.argv.slice(2)
const host = localHost()
const owner = { run: 'a1b2c3', suite: 'b.spec.ts' }
const taken = (await readLedger(host)).leases.some(({ holding }) => holding.names.includes(name))
const dut = 'dut0'
const M = 2 ** 20
const vms = [
  { dut, vm: 'vm0', memory: 64 * M, ports: 1 },
  { dut, vm: 'vm1', memory: 32 * M },
]
const granted = admit(host, [...(taken ? [] : vms), { dut, names: [name] }], { owner })
if (taken) {
  const mine = async () =>
    (await readLedger(host)).wishes.find(({ holder }) => holder.pid === process.pid)
  await poll(mine, { timeoutMs: 10_000 })
  console.log('waiting')
}
const [first] = await granted
if (qemu !== undefined) await first?.settle(Number(qemu))
if (!taken) console.log('granted')
process.stdin.resume()
