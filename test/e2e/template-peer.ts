// Starts one VM of a shape in a process of its own and tells how, in lines of JSON: each stage, and at
// the end how it was started. Then it waits for a line on standard input. Where a stage is given, it
// stands still as it reaches that one; 'saving' is when all is written and not sealed yet.
import { Dut } from '../../src/fleet/dut.ts'
import { openRunFolder } from '../../src/fleet/run-folder.ts'
import type { Host } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { nextLine } from '../lease/process.ts'

const [, , last] = process.argv
const never = new Int32Array(new SharedArrayBuffer(4))
function tell(stage: string): void {
  console.log(JSON.stringify({ stage }))
  if (stage === last) Atomics.wait(never, 0, 0)
}

const local = localHost()
const host: Host = {
  ...local,
  run: (file, args, options) => {
    if (file === 'chmod') tell('saving')
    return local.run(file, args, options)
  },
}
const folder = await openRunFolder(host)
await using dut = new Dut({
  ...{ name: 'dut0', host, dir: `${folder.path}/d`, bootTimeoutMs: 120_000 },
  onProgress: (progress) => {
    if (progress.kind === 'vm') tell(progress.stage)
    else console.log(JSON.stringify({ note: progress.line }))
  },
})
const vm = await dut.start({ memory: '192M' })
const { stdout } = await vm.exec('hostname', { check: true })
console.log(JSON.stringify({ startedBy: vm.startedBy, hostname: stdout.trim() }))
await nextLine()
await dut.close()
await folder.close()
