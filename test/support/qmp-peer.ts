import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { localHost } from '../../src/host/local.ts'
import { connectQmp, type Qmp, type QmpOptions } from '../../src/qemu/qmp.ts'
import { waitFor } from '../../src/wait.ts'

const SOON = { timeoutMs: 15_000 }

export interface RunningQemu {
  qmp: Qmp
  kill(): void
  signal(name: NodeJS.Signals): void
  [Symbol.asyncDispose](): Promise<void>
}

/** A QEMU that has connected to us, as the product's do. */
export async function startQemu(args = ['-machine', 'none']): Promise<RunningQemu> {
  const host = localHost()
  const dir = await mkdtemp(join(tmpdir(), 'qmp-'))
  const listener = await host.listen(`${dir}/qmp`)
  const qemu = host.openPty('qemu-system-x86_64', [
    ...[...args, '-nodefaults', '-display', 'none'],
    ...['-chardev', `socket,id=qmp,path=${dir}/qmp`, '-mon', 'chardev=qmp,mode=control'],
  ])
  return {
    qmp: await connectQmp(await waitFor(listener.connection, SOON)),
    kill: () => qemu.kill('SIGKILL'),
    signal: (name) => qemu.kill(name),
    [Symbol.asyncDispose]: async () => {
      qemu.kill('SIGKILL')
      await waitFor(qemu.exited, SOON)
      await rm(dir, { recursive: true })
    },
  }
}

export interface Peer {
  /** The far end: what it writes reaches the client as QEMU's words would. */
  far: Socket
  /** What the client has sent, one command each. */
  commands: { execute: string; arguments?: unknown; id: number }[]
  near: Socket
  say(message: unknown): void
  [Symbol.asyncDispose](): Promise<void>
}

export const GREETING = {
  QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 }, package: 'test' }, capabilities: [] },
}

/**
 * Both ends of a real socket, for the ways of cutting bytes that no QEMU can be told to use.
 *
 * @param answers a set of commands that are answered with nothing; the others wait for the test
 */
export async function openPeer(answers = ['qmp_capabilities']): Promise<Peer> {
  const dir = await mkdtemp(join(tmpdir(), 'peer-'))
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(`${dir}/s`, resolve))
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve))
  const near = connect(`${dir}/s`)
  const far = await waitFor(accepted, SOON)
  far.on('error', () => {})
  const peer: Peer = {
    far,
    near,
    commands: [],
    say: (message) => void far.write(`${JSON.stringify(message)}\r\n`),
    [Symbol.asyncDispose]: async () => {
      near.destroy()
      far.destroy()
      server.close()
      await rm(dir, { recursive: true })
    },
  }
  let rest = ''
  far.on('data', (data) => {
    const lines = (rest + data.toString()).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const command = JSON.parse(line)
      peer.commands.push(command)
      if (answers.includes(command.execute)) peer.say({ return: {}, id: command.id })
    }
  })
  return peer
}

/** A client on a peer that has greeted it. */
export async function greeted(peer: Peer, options?: QmpOptions): Promise<Qmp> {
  peer.say(GREETING)
  return connectQmp(peer.near, options)
}
