// Starts so many VMs, prints the process ids of their QEMUs in one line, and stays.
import { Dut } from '../src/fleet/dut.ts'
import { openRunFolder } from '../src/fleet/run-folder.ts'
import { localHost } from '../src/host/local.ts'

const host = localHost()
const folder = await openRunFolder(host)
const dut = new Dut({ name: 'bench', host, dir: `${folder.path}/d`, bootTimeoutMs: 120_000 })
const vms = await dut.startAll(Array.from({ length: Number(process.argv[2]) }, () => ({})))
console.log(vms.map((vm) => vm.pid).join(' '))
