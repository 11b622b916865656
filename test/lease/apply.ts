// Asks this machine for what its argument says in JSON: { needs, options }, those of admit(). What comes
// of it is printed, a JSON object on each line:
//   { waits }          about every second, what it waits for
//   { has, files }     what it was promised; it then stays until it is told a line, and gives it back
//   { failed, hint }   the error instead
//   { over }           all is given back
import { DutError } from '../../src/errors.ts'
import { localHost } from '../../src/host/local.ts'
import { admit } from '../../src/lease/admit.ts'
import { nextLine } from './process.ts'

const { needs, options } = JSON.parse(process.argv[2] ?? '{}')
const say = (answer: object) => console.log(JSON.stringify(answer))

try {
  const onWait = (waits: string) => say({ waits })
  const leases = await admit(localHost(), needs, { ...options, onWait })
  say({
    has: leases.map(({ holding, pin }) => ({ ...holding, pin })),
    files: leases.map(({ lockFile }) => lockFile),
  })
  await nextLine()
  await Promise.all(leases.map((lease) => lease.release()))
  say({ over: true })
} catch (error) {
  say({ failed: String(error), ...(error instanceof DutError && { hint: error.hint }) })
}
process.exit()
