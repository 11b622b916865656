import { openRunBase } from '../../fleet/run-base.ts'
import type { FileFacts } from '../../host/host.ts'
import { lockFolder } from '../../lease/locks/folder.ts'
import { asRoot, type Check, degraded, failure, type Machine, missing, ok } from './check.ts'

const FOR_ALL = '/run/lock/vitest-dut'
/** Everybody may add to it, and nobody remove what is another's. */
const STICKY = 0o1777

export const locks: Check = {
  name: 'lock folder',
  look: async (machine) => {
    const { host } = machine
    try {
      const path = await lockFolder(host)
      return judge(machine, path, await host.fileFacts(path))
    } catch (error) {
      const set = process.env.VITEST_DUT_LOCK_DIR
      const fix = set ? 'unset VITEST_DUT_LOCK_DIR' : asRoot(machine, makeForAll(FOR_ALL))
      return { fix, ...failure(machine, error) }
    }
  },
}

function judge(machine: Machine, path: string, facts?: FileFacts) {
  if (facts === undefined) return missing(`${path} is gone again`)
  const { mode, uid } = facts
  const detail = `${path} (owner ${ownerOf(machine, uid)}, mode ${mode.toString(8)})`
  if (uid !== 0 && uid !== machine.uid) {
    const fix = asRoot(machine, `chown root ${path}`)
    return degraded(`${detail}: its owner can take everybody's locks away`, fix)
  }
  if ((mode & STICKY) === STICKY) return ok(`${detail}, shared by all users`)
  const chmod = `chmod 1777 ${path}`
  const open = uid === machine.uid ? chmod : asRoot(machine, chmod)
  const fix = process.env.VITEST_DUT_LOCK_DIR ? open : asRoot(machine, makeForAll(FOR_ALL))
  return degraded(`${detail}: this user's alone, so runs of other users are not kept out`, fix)
}

function makeForAll(path: string): string {
  return `install -d -m 1777 ${path}`
}

export const runs: Check = {
  name: 'run folder',
  look: async (machine) => {
    const { host, uid } = machine
    try {
      const path = await openRunBase(host)
      const facts = await host.fileFacts(path)
      if (!facts?.writable) return missing(`${path} cannot be written`)
      return ok(`${path} (owner ${ownerOf(machine, uid)}, mode ${facts.mode.toString(8)})`)
    } catch (error) {
      const set = process.env.VITEST_DUT_RUN_DIR
      return { ...(set && { fix: 'unset VITEST_DUT_RUN_DIR' }), ...failure(machine, error) }
    }
  },
}

function ownerOf(machine: Machine, uid: number): string {
  return uid === 0 ? 'root' : uid === machine.uid ? 'this user' : `uid ${uid}`
}
