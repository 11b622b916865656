import { execFileSync } from 'node:child_process'
import { dutTest, expect, userNet, type Vm } from 'vitest-dut'
import { cli } from '../support/cli.ts'

const forwarding = userNet({ forward: [22, { port: 53, protocol: 'udp' }] })
const test = dutTest({
  vms: 2,
  // The ledger has those that were promised in one moment by their names.
  vm: ({ index }) => (index === 0 ? { devices: [forwarding] } : { name: 'web', memory: '256M' }),
})

interface ListedLease {
  qemu: number | null
  pid: number
  ports: number[]
  [key: string]: unknown
}

async function ps() {
  const { stdout } = await cli(['ps', '--json'], { env: {} })
  return JSON.parse(stdout).leases as ListedLease[]
}

/** Others may run VMs here as well. */
const ofUs = (leases: readonly ListedLease[]) => leases.filter(({ pid }) => pid === process.pid)

/** Where the kernel says that a process listens. */
function portsOf(pid: number): number[] {
  const lines = execFileSync('ss', ['-tulnpH']).toString().split('\n')
  const ours = lines.filter((line) => line.includes(`pid=${pid},`))
  return ours.map((line) => Number(/:(\d+) /.exec(line)?.[1]))
}

test('ps shows each VM that runs as it is, and none that is gone', async ({ vms, dut }) => {
  const listed = ofUs(await ps())
  expect(listed.map(({ vm, qemu }) => ({ vm, qemu }))).toEqual(
    vms.map(({ name, pid }) => ({ vm: name, qemu: pid })),
  )
  for (const [i, vm] of vms.entries()) {
    const summary = await vm.qmp('query-memory-size-summary')
    const { 'base-memory': memory } = summary as { 'base-memory': number }
    // What it was promised; QEMU's is less by two pages where migration needs that.
    expect(listed[i]).toMatchObject({ state: 'running', dut: 'dut0' })
    expect([0, 8192]).toContain(Number(listed[i]?.memory) - memory)
    expect(listed[i]?.ports).toHaveLength(i === 0 ? 2 : 0)
    expect(portsOf(vm.pid).toSorted()).toEqual(listed[i]?.ports.toSorted())
  }

  const [, web] = vms as [Vm, Vm]
  await dut.stop(web)
  expect(ofUs(await ps()).map(({ qemu }) => qemu)).toEqual([vms[0]?.pid])
})
