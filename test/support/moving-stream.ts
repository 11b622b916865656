import { expect, type Vm } from 'vitest-dut'
import { isRunning } from './processes.ts'

/** Moves two VMs in turn while TCP flows from one to the other, at 10.0.0.2, and sees it go on each time. */
export async function moveUnderStream([a, b]: readonly [Vm, Vm], rounds: number): Promise<void> {
  const server = await b.spawn('iperf3 -s', { prompt: 'Server listening' })
  const client = await a.spawn('iperf3 -c 10.0.0.2 -t 600 -i 1')
  await client.expect('Mbits/sec', '30s')
  const bytes = async () =>
    Number((await b.exec('cat /sys/class/net/eth0/statistics/rx_bytes')).stdout)
  for (let round = 0; round < rounds; round++) {
    for (const vm of [a, b]) {
      const from = vm.pid
      await vm.migrate()
      expect(isRunning(from)).toBe(false)
      const before = await bytes()
      await expect.poll(bytes).toBeGreaterThan(before + 1_000_000)
    }
  }
  await client.close()
  await server.close()
}
