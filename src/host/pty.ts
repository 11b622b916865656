import { spawn as spawnProcess } from 'node:child_process'
import type { Socket } from 'node:net'
import { constants } from 'node:os'
import type { IPty } from '@lydell/node-pty'
import { bound, letGo } from './bound.ts'
import type { Exit, Pty, PtyOptions } from './host.ts'
import { nodePty } from './node-pty.ts'
import { openErrors } from './pty-errors.ts'
import { type Master, Typing } from './typing.ts'

const SIGNAL_NAMES = new Map(Object.entries(constants.signals).map(([name, n]) => [n, name]))

/**
 * A program on a pseudo-terminal of this machine, killed by the kernel when this process ends. (The
 * terminal's hang-up alone is not enough, because node-pty's master is inherited by later children,
 * which then keep the terminal open.)
 *
 * @throws InfrastructureError where this installation cannot open terminals
 */
export function openPty(
  file: string,
  args: readonly string[],
  { cwd, env, cols = 1000, rows = 50, stderr = 'merged', leash = false }: PtyOptions = {},
): Pty {
  const errors = stderr === 'apart' ? openErrors() : undefined
  const terminal = nodePty().spawn(...bound(...(errors?.redirect(file, args) ?? [file, args])), {
    name: 'dumb',
    cols,
    rows,
    encoding: null,
    cwd: cwd ?? process.cwd(),
    env: { ...process.env, ...env },
  })
  const typing = new Typing(masterOf(terminal))
  const unleash = leash ? leashGroup(terminal.pid) : () => {}
  let running = true
  const exited = new Promise<Exit>((resolve) => {
    terminal.onExit(({ exitCode, signal }) => {
      running = false
      unleash()
      errors?.close()
      resolve(
        signal ? { exitCode: 128 + signal, signal: SIGNAL_NAMES.get(signal) ?? '' } : { exitCode },
      )
    })
  })
  return {
    pid: terminal.pid,
    // With encoding null node-pty gives Buffers, though its types still say string.
    onData: (listener) =>
      void terminal.onData((data) => {
        errors?.drain()
        listener(data as unknown as Uint8Array)
      }),
    onStderr: (listener) => errors?.onData(listener),
    // What the caller does to its bytes afterwards is not typed.
    write: (data) => typing.add(Buffer.from(data as Uint8Array)),
    takeBack: () => typing.takeBack(),
    kill: (signal = 'SIGKILL') => {
      if (!running) return
      try {
        process.kill(-terminal.pid, signal) // it leads a process group of its own
      } catch {
        terminal.kill(signal) // not yet: it has only just been forked
      }
    },
    exited,
  }
}

/** What node-pty has and its types do not tell. */
function masterOf(terminal: IPty): Master {
  const { fd, _socket } = terminal as unknown as { fd: number; _socket: Socket }
  return {
    fd,
    // Node marks it so in the turn in which it closes the descriptor.
    get isClosed() {
      return _socket.destroyed
    },
  }
}

/**
 * Has a process group killed when this process ends before it calls what is returned. (The terminal's
 * hang-up ends only what does not ignore it. node-pty gives the program no descriptor of ours, so the
 * companion is a process beside it, unlike that of `leashed`.)
 */
function leashGroup(leader: number): () => void {
  const script = 'read -r _ || kill -s KILL -- "-$0"'
  const { stdin } = spawnProcess('sh', ['-c', script, String(leader)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true, // Ctrl-C must not end it
  }).on('error', () => {}) // without it, the hang-up is left
  stdin.on('error', () => {})
  return () => void stdin.end(letGo)
}
