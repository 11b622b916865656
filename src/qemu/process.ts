import { lastLines } from '../errors.ts'
import type { Exit, Host, Pty } from '../host/host.ts'

export interface QemuProcess {
  /** QEMU's own: the shell that starts it becomes it. */
  readonly pid: number
  /** QEMU's standard input and output. */
  readonly terminal: Pty
  readonly exited: Promise<Exit>
  /** What QEMU itself complained about, one line each, without its program name. */
  complaints(): Promise<string[]>
  kill(): void
}

/**
 * Starts QEMU on a terminal, as the holder of its lease: it has the lock on `lockFile`, shared with
 * whoever started it, from before its first instruction until it is gone, whoever ends it. Its
 * complaints go to a file, for the terminal is the guest's console and a warning must not appear in the
 * middle of a command's output. (The shell's text is constant; the words come as its arguments and are
 * never parsed. flock(1) locks the shell's own descriptor, which QEMU inherits.)
 *
 * @param command the program and its arguments
 * @param env added to its environment
 */
export function startQemu(
  host: Host,
  command: readonly string[],
  { dir, lockFile, env }: { dir: string; lockFile: string; env?: Record<string, string> },
): QemuProcess {
  const log = `${dir}/qemu.log`
  const script = 'exec 2>"$0" 3<"$1" || exit; shift; flock --shared 3 && exec "$@"'
  const terminal = host.openPty('sh', ['-c', script, log, lockFile, ...command], { env })
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
