import { cli } from './cli.ts'

/** A line of `vitest-dut ps --json`. */
export interface ListedLease {
  vm?: string
  qemu: number | null
  pid: number
  ports: number[]
  [key: string]: unknown
}

/** What the ledger of the host has of this process; others may run VMs here as well. */
export async function leasesOfUs(): Promise<ListedLease[]> {
  const { stdout } = await cli(['ps', '--json'], { env: {} })
  const leases = JSON.parse(stdout).leases as ListedLease[]
  return leases.filter(({ pid }) => pid === process.pid)
}
