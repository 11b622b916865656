// Migrates a VM again and again, and tells in a line of JSON each how far it is, to be killed meanwhile.
import { Dut } from '../../src/fleet/dut.ts'
import { openRunFolder } from '../../src/fleet/run-folder.ts'
import { localHost } from '../../src/host/local.ts'

const host = localHost()
const folder = await openRunFolder(host)
const dut = new Dut({ name: 'dut0', host, dir: `${folder.path}/d`, bootTimeoutMs: 120_000 })
const vm = await dut.start({ memory: '192M', boot: 'cold' })
const tell = (status: string) => console.log(JSON.stringify({ status, dir: dut.dir }))
for (;;) {
  tell('begin')
  await vm.migrate({ bandwidth: '300M', onProgress: ({ status }) => tell(status) })
  tell('end')
}
