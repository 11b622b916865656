// Does with the host's lock folder all that a run does, as whatever user it is run: a section, a place
// in the ledger. Says which folder it is, or the error.

import { localHost } from '../../src/host/local.ts'
import { admit } from '../../src/lease/admit.ts'
import { lockFolder } from '../../src/lease/folder.ts'
import { section } from '../../src/lease/section.ts'

const host = localHost()
try {
  await section(host, 'common', () => {})
  const [lease] = await admit(host, [{ dut: 'dut0', names: ['the generator'] }])
  await lease?.release()
  console.log(await lockFolder(host))
} catch (error) {
  console.log(`${error}`)
}
