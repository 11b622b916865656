import { randomUUID } from 'node:crypto'
import { Dut } from '../../src/fleet/dut.ts'
import { localHost } from '../../src/host/local.ts'

/** This machine as a DUT, with a folder of its own, short enough for sockets. */
export function hostDut(): Dut {
  const dir = `/tmp/dpdk-test-${randomUUID().slice(0, 6)}`
  return new Dut({ name: 'dut0', host: localHost(), dir, bootTimeoutMs: 60_000 })
}

/** Programs of this machine whose command line has `text`. */
export async function processesWith(dut: Dut, text: string): Promise<string[]> {
  const { stdout } = await dut.exec(`pgrep -f -- '[${text[0]}]${text.slice(1)}'`)
  return stdout.split('\n').filter((line) => line !== '')
}
