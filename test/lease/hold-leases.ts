import type { Host } from '../../src/host/host.ts'
import { leaseCommand } from '../../src/lease/ports.ts'

/** Starts a program with leases on a terminal, as QEMU is; `up` once it runs, so has them. */
export function holdLeases(host: Host, lockFiles: readonly string[]) {
  const [file = '', ...args] = leaseCommand(lockFiles, ['sh', '-c', 'echo up; exec cat'])
  const terminal = host.openPty(file, args)
  const { promise: up, resolve, reject } = Promise.withResolvers<void>()
  terminal.onData((data) => {
    if (Buffer.from(data).includes('up')) resolve()
  })
  terminal.exited.then(({ exitCode }) => reject(new Error(`exit status ${exitCode}`)))
  up.catch(() => {})
  return { ...terminal, up }
}
