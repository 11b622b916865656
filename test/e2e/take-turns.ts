// A fleet without guests, again and again: at each line that it is told, it waits until so many huge pages
// are promised to each of so many QEMUs, starts all, ends them, and gives all back. It prints `done` then.
// The log has a line for each moment from which on, and until which, it had them. Its arguments: how many
// QEMUs, how many pages for each, the log.
import { appendFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { localHost } from '../../src/host/local.ts'
import { admit } from '../../src/lease/admit.ts'
import { usePages } from '../lease/page-user.ts'

const [qemuCount = '', count = '', log = ''] = process.argv.slice(2)
const host = localHost()
const need = (vm: string) => ({
  ...{ dut: 'dut0', vm },
  pages: { size: '2M' as const, bytes: Number(count) * 2 ** 21, node: 0 },
})
const needs = Array.from({ length: Number(qemuCount) }, (_, i) => need(`vm${i}`))
const note = (pages: number) => appendFileSync(log, `${JSON.stringify([process.pid, pages])}\n`)

console.log('ready')
for await (const _ of createInterface({ input: process.stdin })) {
  const leases = await admit(host, needs)
  const qemus = await Promise.all(leases.map((lease) => usePages(host, lease)))
  await Promise.all(leases.map((lease, i) => lease.settle(qemus[i]?.pid ?? 0)))
  note(needs.length * Number(count))
  note(0)
  await Promise.all(qemus.map((qemu) => qemu.kill()))
  await Promise.all(leases.map((lease) => lease.release()))
  console.log('done')
}
