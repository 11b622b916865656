import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawn } from '@lydell/node-pty'
import type { Guest } from '../src/image/guest.ts'
import { qemuArgs } from '../src/qemu/args.ts'

export interface RawTemplate {
  folder: string
  guest: Guest
  accel: 'kvm' | 'tcg'
}

/**
 * The floor of a clone: QEMU restores a saved machine, and a line that is typed into its console is
 * answered. Of QMP only the four lines that it takes, no identity, no lease, no check of anything.
 */
export async function cloneRaw({ folder, guest, accel }: RawTemplate) {
  const dir = await mkdtemp(join(tmpdir(), 'bench-clone-'))
  const server = createServer().listen(`${dir}/qmp`)
  const connected = once(server, 'connection')
  const pty = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', '--', ...bareClone(folder, guest, accel, dir)],
    {
      encoding: null,
    },
  )
  const exited = new Promise<void>((resolve) => pty.onExit(() => resolve()))
  const answered = new Promise<void>((resolve, reject) => {
    let text = ''
    pty.onData((data) => {
      text += String(data)
      if (text.includes('up1')) resolve()
    })
    void exited.then(() => reject(new Error(`a bare clone ended: ${text}`)))
  })
  const [socket] = (await connected) as [Socket]
  server.close()
  restore(socket, `exec:cat ${folder}/state`)
  pty.write('echo "up"$((1))\n')
  await answered
  return {
    pid: pty.pid,
    end: async () => {
      pty.kill('SIGKILL')
      await exited
      await rm(dir, { recursive: true })
    },
  }
}

function bareClone(folder: string, guest: Guest, accel: 'kvm' | 'tcg', dir: string): string[] {
  const args = qemuArgs({
    ...{ name: 'bare', qemu: '', machine: 'q35', accel, cpu: { count: 1 }, boot: guest },
    memory: {
      ...{ size: '512M', shared: false, hugepages: false },
      file: { path: `${folder}/memory`, share: false },
    },
    ...{ sockets: { qmp: `${dir}/qmp`, kernelLog: '', agent: '' } },
    ...{ devices: [], disks: [], extraArgs: [], incoming: true },
  })
  return [
    'qemu-system-x86_64',
    ...args.map((a) => a.replace(/^socket,id=(\w+),path=$/, 'null,id=$1')),
  ]
}

/** Says all at once; a machine that was saved while it stood still goes on when it is told to. */
function restore(socket: Socket, uri: string): void {
  const say = (execute: string, args?: object) =>
    socket.write(`${JSON.stringify({ execute, ...(args && { arguments: args }) })}\n`)
  const capabilities = ['x-ignore-shared', 'events'].map((capability) => ({
    capability,
    state: true,
  }))
  say('qmp_capabilities')
  say('migrate-set-capabilities', { capabilities })
  say('migrate-incoming', { uri })
  let heard = ''
  socket.on('data', (data) => {
    heard += String(data)
    if (!/"status": "completed"/.test(heard)) return
    heard = ''
    say('cont')
  })
  socket.on('error', () => {})
}
