import type { Duplex } from 'node:stream'
import type { Vm } from '../src/vm/vm.ts'
import { inTurn, median, type Row, rateRow, timeRow } from './measure.ts'

const BYTES = 10_000_000
const ROUNDS = 5

/**
 * Captured output: a file through `exec` against `cat` into a bare port of the same kind, and a
 * program that writes line by line against the same into a pipe within the guest.
 *
 * @param port the host's end of a second virtio-serial port, named `raw`
 */
export async function output(vm: Vm, port: Duplex): Promise<Row[]> {
  await vm.exec(`head -c ${BYTES} /dev/urandom > /tmp/file`, { check: true })
  const device = await vm.exec('cd /sys/class/virtio-ports; dirname $(grep -lx raw */name)')
  const path = `/dev/${device.stdout.trim()}`
  const file = await inTurn(
    ROUNDS,
    async () => {
      const { stdoutBytes } = await vm.exec('cat /tmp/file')
      if (stdoutBytes.length !== BYTES) throw new Error(`${stdoutBytes.length} bytes came`)
    },
    async () => {
      const all = received(port, BYTES)
      await vm.exec(`cat /tmp/file > ${path}`, { check: true })
      await all
    },
  )
  const lines = await inTurn(
    ROUNDS,
    async () => {
      const { stdout } = await vm.exec('stdbuf -oL seq 200000')
      if (!stdout.endsWith('\n200000\n')) throw new Error('lines are missing')
    },
    () => vm.exec('stdbuf -oL seq 200000 | cat > /dev/null'),
  )
  const [ours, floor] = [median(file.ours), median(file.floor)]
  return [
    rateRow('exec of a 10 MB file', { bytes: BYTES, ours, floor }, 0.7, 10),
    timeRow('exec of 200,000 single writes', median(lines.ours), median(lines.floor), 1.5),
  ]
}

function received(port: Duplex, bytes: number): Promise<void> {
  return new Promise((resolve) => {
    let left = bytes
    const count = (data: Uint8Array) => {
      left -= data.length
      if (left > 0) return
      port.off('data', count)
      resolve()
    }
    port.on('data', count)
  })
}
