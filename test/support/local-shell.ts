import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { Console } from '../../src/console/console.ts'
import { Shell } from '../../src/console/shell.ts'
import type { ByteStream } from '../../src/console/stream.ts'
import { localHost } from '../../src/host/local.ts'
import { Lifeline } from '../../src/lifeline.ts'

// What the default guest's shell is started with, on a terminal of this machine.
const RC = `stty -echo -opost icanon isig -ixon; unset HISTFILE; set +H; PS1= PS2=
printf '\\036dut-shell %d\\036\\n' $$\n`

/**
 * A real bash on a real terminal, put under the protocol; gone with the test. `open` gives a further
 * console at the same terminal, under which it is not; what is fed looks as if it was printed.
 *
 * @param lookAside whether the kernel can be asked who has the terminal, as it is in a guest
 */
export async function localShell({ respawn = false, lookAside = false } = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'shell-'))
  const rc = join(dir, 'rc')
  await writeFile(rc, RC)
  const bash = `bash --noprofile --rcfile ${rc} --noediting -i`
  const host = localHost()
  const pty = respawn
    ? host.openPty('bash', [
        '-c',
        `trap '' INT QUIT; while :; do (trap - INT QUIT; exec ${bash}); done`,
      ])
    : host.openPty('bash', bash.split(' ').slice(1))
  let raw = ''
  pty.onData((data) => {
    raw += Buffer.from(data).toString('latin1')
  })
  const life = new Lifeline()
  void pty.exited.then(() => life.end(new Error('the shell is gone')))
  const hearing: ((data: Uint8Array) => void)[] = []
  const stream: ByteStream = {
    onData: (listener) => {
      hearing.push(listener)
      pty.onData(listener)
    },
    write: (data) => pty.write(data),
  }
  const feed = (text: string) => hearing.forEach((hear) => void hear(Buffer.from(text)))
  const open = () => {
    const console = new Console(stream, { life, vm: 'vm0', dut: 'dut0' })
    const look = async (script: string) => {
      const { stdout } = await host.run('bash', ['-c', script])
      life.signal.throwIfAborted() // as a guest's agent does not answer
      return stdout
    }
    return { console, shell: new Shell(console, lookAside ? { lookAside: look } : {}) }
  }
  const { console, shell } = open()
  onTestFinished(async () => {
    pty.kill()
    await pty.exited
    await rm(dir, { recursive: true })
  })
  await shell.ready({ timeoutMs: 10_000 })
  return { shell, console, pty, life, open, feed, raw: () => raw }
}
