// A suite of another process: leases from this machine what it is told to (kind, what, and further
// options of its DUT, the latter two as JSON), says what it has, and then does what it is told to.
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Dut } from '../../src/fleet/dut.ts'
import { localHost } from '../../src/host/local.ts'

const [kind = '', wanted = '', options = '{}'] = process.argv.slice(2)
const dir = join(tmpdir(), `peer-${crypto.randomUUID()}`) // made by whoever needs it
const dut = new Dut({
  ...{ name: 'peer', host: localHost(), dir, bootTimeoutMs: 1000 },
  ...{ owner: { suite: 'peer.spec.ts' }, ...JSON.parse(options) },
  onProgress: (progress) => console.log('line' in progress && progress.line),
})
const lease = await dut.lease(kind as 'name', JSON.parse(wanted))
console.log(JSON.stringify(lease.holding))
for await (const order of createInterface({ input: process.stdin })) {
  if (order === 'release') await lease.release()
  if (order === 'close') await dut.close()
  console.log('done')
}
