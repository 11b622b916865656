import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Host } from '../../src/host/host.ts'
import { connectQmp, type Qmp } from '../../src/qemu/qmp.ts'
import { segmentNetdev } from '../../src/qemu/segment.ts'
import { poll, waitFor } from '../../src/wait.ts'

const SOON = { timeoutMs: 15_000 }

/**
 * A member of a segment: a QEMU wired to the port exactly as a VM's is, that hands its frames to us
 * over a `stream` netdev, which has a length of 4 bytes, big-endian, before each frame.
 */
export interface Member {
  readonly frames: Buffer[]
  send(...frames: Buffer[]): Promise<void>
  /** Resolves when `count` frames have come since the start. */
  got(count: number): Promise<Buffer[]>
  /** Stops or resumes QEMU as a process, so that it takes nothing from the segment. */
  freeze(): void
  thaw(): void
  leave(): Promise<void>
}

let made = 0

export async function join(host: Host, dir: string, port: string, qemu: string): Promise<Member> {
  made += 1
  const name = `${dir}/m${made}`
  const control = `${name}.qmp`
  const listener = await host.listen(control)
  const process = host.openPty(qemu, [
    ...['-machine', 'none', '-nodefaults', '-display', 'none'],
    ...['-chardev', `socket,id=qmp,path=${control}`, '-mon', 'chardev=qmp,mode=control'],
  ])
  const qmp = await connectQmp(await waitFor(listener.connection, SOON))
  const socket = await wire(qmp, `${name}.raw`, port)
  const frames: Buffer[] = []
  socket.on(
    'data',
    deframer((frame) => frames.push(frame)),
  )
  return {
    frames,
    send: async (...sent) => {
      const flushed = socket.write(Buffer.concat(sent.flatMap((frame) => [length(frame), frame])))
      if (!flushed) await waitFor(once(socket, 'drain'), SOON)
    },
    got: async (count) => {
      const onTimeout = () => new Error(`${frames.length} frames came, ${count} were wanted`)
      return poll(() => (frames.length >= count ? frames : undefined), { ...SOON, onTimeout })
    },
    freeze: () => process.kill('SIGSTOP'),
    thaw: () => process.kill('SIGCONT'),
    leave: async () => {
      socket.destroy()
      process.kill('SIGKILL')
      await waitFor(process.exited, SOON)
    },
  }
}

async function wire(qmp: Qmp, raw: string, port: string): Promise<Socket> {
  const hub = (netdev: string) =>
    qmp.execute('netdev_add', { type: 'hubport', id: `hub-${netdev}`, hubid: 1, netdev })
  await qmp.execute('netdev_add', segmentNetdev('net0', port))
  await hub('net0')
  await qmp.execute('netdev_add', { type: 'hubport', id: 'sink', hubid: 1 }) // see openHub
  const addr = { type: 'unix', path: raw }
  await qmp.execute('netdev_add', { type: 'stream', id: 'raw', server: true, addr })
  await hub('raw')
  const connected = qmp.once('NETDEV_STREAM_CONNECTED', SOON)
  const [socket] = await Promise.all([poll(() => dial(raw), SOON), connected])
  return socket
}

/** QEMU listens for a stream in a thread of its own, some time after `netdev_add` has returned. */
function dial(path: string): Promise<Socket | undefined> {
  const socket = connect(path)
  return once(socket, 'connect').then(
    () => socket,
    () => undefined,
  )
}

function length(frame: Buffer): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(frame.length)
  return bytes
}

function deframer(onFrame: (frame: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (chunk) => {
    let all = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    while (all.length >= 4 && all.length >= 4 + all.readUInt32BE()) {
      const end = 4 + all.readUInt32BE()
      onFrame(all.subarray(4, end))
      all = all.subarray(end)
    }
    rest = all
  }
}
