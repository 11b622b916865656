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
  /** What it was typed and has not read. It is not there any more then. */
  unread(): Promise<Uint8Array>
  kill(): void
}

/** A file of which {@link MEMORY_COPY} becomes a copy. */
export interface MemorySource {
  of: string
  /** A path of the file system that the copy is to be in; for a moment there is a file that begins so. */
  beside: string
}

/** The guest's memory where it is a copy of a file: one that has no name, and so is gone with QEMU. */
export const MEMORY_COPY = { path: '/dev/fd/5', share: true }

interface StartQemuOptions {
  dir: string
  lockFile: string
  /** Added to its environment. */
  env?: Record<string, string>
  /** A folder that it holds a lock on, shared, as long as it lives. */
  held?: string
  copy?: MemorySource
}

// What is left when two looks one after another found nothing: the kernel takes a moment to pass on
// what was typed. dd(1) must not make it its own terminal.
const UNREAD = `
exec {never}<> <(:)
empty=0
until [ $empty = 2 ]; do
  hex=$(dd if="/proc/$0/fd/0" iflag=nonblock,noctty bs=64k count=1 status=none 2>/dev/null |
    od -An -v -tx1)
  if [ "$hex" ]; then empty=0; echo "$hex"; else empty=$((empty + 1)); fi
  read -r -t 0.01 -u $never
done`

async function readUnread(host: Host, terminal: Pty): Promise<Uint8Array> {
  const notTyped = terminal.takeBack()
  const { stdout } = await host.run('bash', ['-c', UNREAD, String(terminal.pid)])
  return Buffer.concat([Buffer.from(stdout.replaceAll(/\s/g, ''), 'hex'), notTyped])
}

const SCRIPT = `
exec 2>"$0" 3<"$1" || exit
if [ "$2" ]; then
  exec 4<"$2" || exit
  flock --shared 4 & at_once=$!
fi
flock --shared 3 && wait $at_once || exit
if [ "$3" ]; then
  copy=$(mktemp -- "$4.copy-XXXXXXXX") && exec 5<>"$copy" && rm -f -- "$copy" || exit
  cp --sparse=always -- "$3" /dev/fd/5 || exit
fi
shift 4
exec "$@"`

/**
 * Starts QEMU on a terminal, as the holder of its lease: it has the lock on `lockFile`, shared with
 * whoever started it, from before its first instruction until it is gone, whoever ends it. Its
 * complaints go to a file, for the terminal is the guest's console and a warning must not appear in the
 * middle of a command's output. (The shell's text is constant; the words come as its arguments and are
 * never parsed. flock(1) locks the shell's own descriptor, which QEMU inherits.)
 *
 * @param command the program and its arguments
 */
export function startQemu(
  host: Host,
  command: readonly string[],
  { dir, lockFile, env, held = '', copy }: StartQemuOptions,
): QemuProcess {
  const log = `${dir}/qemu.log`
  const files = [log, lockFile, held, copy?.of ?? '', copy?.beside ?? '']
  const terminal = host.openPty('sh', ['-c', SCRIPT, ...files, ...command], { env })
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
    unread: () => readUnread(host, terminal),
    kill: () => terminal.kill('SIGKILL'),
  }
}
