import { missing as notInstalled } from '../../host/missing.ts'
import { nodePty } from '../../host/node-pty.ts'
import { NODE_VERSIONS } from '../package.ts'
import { type Check, type Finding, failure, ok } from './check.ts'

/** An older Node does not come as far as this. */
export function node(): Finding {
  return ok(`${process.version} (${process.execPath}); needed: ${NODE_VERSIONS}`)
}

/** The module that opens terminals. QEMU runs on one, so no VM runs without it. */
export const terminals: Check = {
  name: 'node-pty',
  look: async () => {
    nodePty()
    return ok('loads in this Node')
  },
}

/** Programs of the host that we start, without which no VM runs. */
export const needed = ['setpriv', 'flock'].map((file) => program(file, 'missing', ''))

export const useful = [
  program('taskset', 'degraded', 'pins virtual CPUs to cores'),
  program('ip', 'degraded', 'makes taps and bridges'),
]

export const testpmd: Check = {
  ...program('dpdk-testpmd', 'degraded', 'runs switches and DPDK programs on this machine'),
  name: 'testpmd',
}

/** @param use what it is good for, said where it is not there */
function program(file: string, without: 'missing' | 'degraded', use: string): Check {
  return {
    name: file,
    look: async (machine) => {
      const path = await machine.host.findProgram(file)
      if (path !== undefined) return ok(path)
      const { detail, ...finding } = failure(machine, notInstalled(file))
      const reason = use === '' ? detail : `${detail}; it ${use}`
      return { ...finding, status: without, detail: reason }
    },
  }
}
