// Opens a run's folder below the base named, puts something in it, says its path, and stays.
// With a number it first does so that often and closes it again.

import { openRunFolder } from '../../src/fleet/run-folder.ts'
import { localHost } from '../../src/host/local.ts'
import { nextLine } from '../lease/process.ts'

const [base, rounds] = process.argv.slice(2)
const host = localHost()
for (let i = 0; i < Number(rounds ?? 0); i++) {
  const folder = await openRunFolder(host, base)
  await host.writeFile(`${folder.path}/socket`, 'x')
  await folder.close()
}
const { path } = await openRunFolder(host, base)
await host.makeDir(`${path}/suite/vm0`)
await host.writeFile(`${path}/suite/vm0/qemu.log`, 'left over')
console.log(path)
await nextLine()
