// `npm run bench`: our figures beside floors measured in the same run. Judge the ratios; the times are
// those of the machine it ran on.
import { Dut } from '../src/fleet/dut.ts'
import { openRunFolder } from '../src/fleet/run-folder.ts'
import { localHost } from '../src/host/local.ts'
import { ensureGuest } from '../src/image/guest.ts'
import { boot } from './boot.ts'
import { clones } from './clones.ts'
import { ends } from './ends.ts'
import { latency } from './latency.ts'
import { locks } from './locks.ts'
import { printTable } from './measure.ts'
import { output } from './output.ts'
import { bootRaw } from './raw.ts'
import { watch } from './watch.ts'

const host = localHost()
const folder = await openRunFolder(host)
const dut = new Dut({ name: 'bench', host, dir: `${folder.path}/d`, bootTimeoutMs: 120_000 })
try {
  const guest = await ensureGuest({ host })
  const { accel, accelReason, qemu } = await dut.facts()
  console.log(`QEMU ${qemu}, ${accelReason}`)
  const bare = accel === 'tcg' ? 'tcg,thread=multi' : 'kvm'

  const path = `${folder.path}/raw`
  const listener = await host.listen(path)
  const port = [
    '-chardev',
    `socket,id=raw,path=${path}`,
    '-device',
    'virtserialport,chardev=raw,name=raw',
  ]
  const vm = await dut.start({ extraArgs: port })
  const raw = await bootRaw(guest, bare)
  const rows = [...(await latency(vm, raw)), ...(await output(vm, await listener.connection))]
  await raw.end()
  await dut.stop(vm)
  rows.push(...(await boot(dut, guest, bare)))
  rows.push(...(await clones(dut, guest, accel)))
  rows.push(await watch(), ...(await locks()), ...(await ends(dut, guest, bare)))
  printTable(rows)
  if (rows.some((row) => !row.ok)) process.exitCode = 1
} finally {
  await dut.close()
  await folder.close()
}
