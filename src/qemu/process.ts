import { lastLines } from '../errors.ts'
import type { Exit, Host, Pty } from '../host/host.ts'

export interface QemuProcess {
  /** QEMU's own: whatever wraps it only execs. */
  readonly pid: number
  /** QEMU's standard input and output. */
  readonly terminal: Pty
  readonly exited: Promise<Exit>
  /** What QEMU itself complained about, one line each, without its program name. */
  complaints(): Promise<string[]>
  kill(): void
}

/**
 * Starts QEMU on a terminal. Its complaints go to a file, for the terminal is the guest's console and
 * a warning must not appear in the middle of a command's output. (The shell's text is constant; the
 * words come as its arguments and are never parsed.)
 *
 * @param command the program and its arguments, with whatever it is to be exec'd by before it
 */
export function startQemu(host: Host, command: readonly string[], dir: string): QemuProcess {
  const log = `${dir}/qemu.log`
  const terminal = host.openPty('sh', ['-c', 'exec 2>"$0" "$@"', log, ...command])
  return {
    pid: terminal.pid,
    terminal,
    exited: terminal.exited,
    complaints: async () => {
      const text = await host.readFile(log).then(
        (bytes) => Buffer.from(bytes).toString(),
        () => '',
      )
      return lastLines(text, 10).map((line) => line.replace(/^\S*qemu-system-\w+: /, ''))
    },
    kill: () => terminal.kill('SIGKILL'),
  }
}
