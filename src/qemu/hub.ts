import { AbortController, anySignal } from '../abort.ts'
import { InfrastructureError } from '../errors.ts'
import type { Exit, Host, Listener, Pty } from '../host/host.ts'
import { waitFor } from '../wait.ts'
import { optionValue } from './option-value.ts'
import { connectQmp, type Qmp, QmpError } from './qmp.ts'
import { hubNetdev, memberSocket } from './segment.ts'

export interface HubOptions {
  host: Host
  /** Path of the emulator. */
  qemu: string
  /** Exists, belongs to this hub alone, and is so short that 10 more bytes fit in sun_path. */
  dir: string
  /** The link's, for messages. */
  name: string
  /** Added to its environment. */
  env?: Record<string, string>
  /** Stops the opening. */
  signal?: AbortSignal
}

/** An Ethernet segment on one host: what one port sends, all others receive. */
export interface Hub {
  /**
   * Path of a fresh port, for one NIC; see segment.ts for what connects there. A member may come,
   * leave and come back at any time. Frames for one that is absent, or 10,000 frames behind, are
   * dropped and never hold up the others.
   *
   * @throws InfrastructureError when the hub has ended, or when QEMU is older than 7.2
   */
  port(): Promise<string>
  /** Path of a port that is not there yet: {@link open} makes it. */
  reserve(): string
  open(path: string): Promise<void>
  /** Takes a port away whose member has left for good, with its sockets. */
  removePort(path: string): Promise<void>
  /** Resolves, never rejects, when the process has ended, wanted or not. */
  readonly closed: Promise<Exit>
  /** Orderly, then by force; resolves when the process and the sockets are gone. */
  close(): Promise<void>
}

const START_TIMEOUT_MS = 30_000
const QUIT_TIMEOUT_MS = 2000

/**
 * A QEMU without a machine, whose netdevs are joined by QEMU's own hub. It needs no rights, no port
 * number and no program that a host with VMs lacks. The netdevs are `dgram` rather than `stream`,
 * because QEMU (7.2 at least) leaves the accepted socket of a `stream` blocking: one paused VM would
 * stop its main loop, and with it the whole segment and QMP.
 *
 * @throws InfrastructureError when QEMU does not start
 */
export async function openHub({ host, qemu, dir, name, env, signal }: HubOptions): Promise<Hub> {
  signal?.throwIfAborted()
  /** Each port's number, by its path, and those that are there. */
  const ports = new Map<string, number>()
  const opened = new Set<number>()
  let last = 0
  const control = `${dir}/qmp`
  const listener = await host.listen(control)
  const terminal = host.openPty(qemu, hubArgs(control), { env })
  const printed = outputOf(terminal)
  const sweep = async () => {
    listener.close()
    const sockets = [control, ...[...ports.keys()].flatMap(socketsOf)]
    await Promise.all(sockets.map((path) => host.remove(path)))
  }
  const ended = (command: string, exit: Exit) =>
    new InfrastructureError(`the hub of link ${JSON.stringify(name)} has ended (${how(exit)})`, {
      command,
      tail: printed(),
    })
  try {
    const qmp = await connect({ terminal, listener, signal, ended: (exit) => ended(qemu, exit) })
    await addSink(qmp)
    let closing: Promise<void> | undefined
    const reserve = () => {
      const number = ++last
      const path = `${dir}/${number}`
      ports.set(path, number)
      return path
    }
    const open = async (path: string) => {
      const number = ports.get(path) ?? 0
      await addPort(qmp, path, number).catch(async (error) => {
        if (error instanceof QmpError) throw refused(name, qmp, error)
        throw ended('port', await waitFor(terminal.exited, { timeoutMs: QUIT_TIMEOUT_MS }))
      })
      opened.add(number)
    }
    return {
      closed: terminal.exited,
      reserve,
      open,
      port: async () => {
        const path = reserve()
        await open(path)
        return path
      },
      removePort: async (path) => {
        const number = ports.get(path)
        if (number === undefined) return
        ports.delete(path)
        const netdevs = opened.delete(number) ? [`hub${number}`, `port${number}`] : []
        for (const id of netdevs) await qmp.execute('netdev_del', { id })
        await Promise.all(socketsOf(path).map((socket) => host.remove(socket)))
      },
      close: () => {
        closing ??= quit(qmp, terminal).then(sweep)
        return closing
      },
    }
  } catch (error) {
    terminal.kill()
    await terminal.exited
    await sweep()
    throw error
  }
}

function hubArgs(control: string): string[] {
  return [
    ...['-machine', 'none', '-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-chardev', `socket,id=qmp,path=${optionValue(control)}`],
    ...['-mon', 'chardev=qmp,mode=control'],
  ]
}

interface Connecting {
  terminal: Pty
  listener: Listener
  signal: AbortSignal | undefined
  ended(exit: Exit): Error
}

/** QMP, unless the process ends first. */
async function connect({ terminal, listener, signal, ended }: Connecting): Promise<Qmp> {
  const died = new AbortController()
  void terminal.exited.then((exit) => died.abort(ended(exit)))
  const wait = { timeoutMs: START_TIMEOUT_MS, signal: anySignal(signal, died.signal) }
  const stream = await waitFor(listener.connection, {
    ...wait,
    onTimeout: (elapsedMs) =>
      new InfrastructureError('the QEMU of a link did not connect', { elapsedMs }),
  })
  return connectQmp(stream, wait)
}

// A port without a netdev takes everything. Without it QEMU's hub holds frames back at the sender's
// port when no receiver is ready, and then delivers them before older ones that wait at the
// receiver's (net_hub_flush comes first in qemu_flush_or_purge_queued_packets, net/net.c).
async function addSink(qmp: Qmp): Promise<void> {
  await qmp.execute('netdev_add', { type: 'hubport', id: 'sink', hubid: 1 })
}

function socketsOf(port: string): [string, string] {
  return [port, memberSocket(port)]
}

// netdev_add has bound the socket when it returns, so the port is there.
async function addPort(qmp: Qmp, path: string, number: number): Promise<void> {
  const netdev = `port${number}`
  await qmp.execute('netdev_add', hubNetdev(netdev, path))
  await qmp.execute('netdev_add', { type: 'hubport', id: `hub${number}`, hubid: 1, netdev })
}

/** `dgram`, like `stream`, came with QEMU 7.2; older ones do not know the type. */
function refused(name: string, { version }: Qmp, error: QmpError): InfrastructureError {
  const { major, minor } = version.qemu
  const old = /'dgram'|netdev type/i.test(error.desc)
  return new InfrastructureError(
    `link ${JSON.stringify(name)}: QEMU ${major}.${minor} made no port: ${error.desc}`,
    { cause: error, ...(old && { hint: 'links need QEMU 7.2 or later on the host' }) },
  )
}

async function quit(qmp: Qmp, terminal: Pty): Promise<void> {
  const timeoutMs = QUIT_TIMEOUT_MS
  try {
    await Promise.race([qmp.execute('quit', undefined, { timeoutMs }), terminal.exited])
    await waitFor(terminal.exited, { timeoutMs })
  } catch {
    terminal.kill()
    await terminal.exited
  }
  qmp.close()
}

function outputOf(terminal: Pty): () => string {
  let text = ''
  terminal.onData((data) => {
    text = (text + Buffer.from(data).toString()).slice(-4000)
  })
  return () => text
}

function how({ exitCode, signal }: Exit): string {
  return signal ?? `exit status ${exitCode}`
}
