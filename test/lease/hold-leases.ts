import type { Host } from '../../src/host/host.ts'

/** Starts a `leaseCommand` of `cat` on a terminal, as QEMU is; `up` once it has its leases. */
export function holdLeases(host: Host, command: readonly string[]) {
  const [file = '', ...args] = command
  const terminal = host.openPty(file, args)
  const { promise: up, resolve, reject } = Promise.withResolvers<void>()
  let text = ''
  terminal.onData((data) => {
    text += Buffer.from(data).toString()
    // Once from the terminal's echo, once from `cat`, which runs only with the leases.
    if (text.split('up?').length > 2) resolve()
  })
  terminal.exited.then(({ exitCode }) => reject(new Error(`exit status ${exitCode}`)))
  up.catch(() => {})
  terminal.write('up?\n')
  return { ...terminal, up }
}
