import type { Duplex } from 'node:stream'
import type { Outputs } from '../output.ts'

/** How a program ended. A signal's death has `exitCode` 128 + its number, as in a shell. */
export interface Exit {
  exitCode: number
  /** The signal's name, e.g. `'SIGKILL'`, where one ended it. */
  signal?: string
}

export interface RunOptions {
  cwd?: string
  /** Added to the host's own environment. */
  env?: Record<string, string>
  /** What the program reads; its standard input is empty otherwise. */
  input?: string | Uint8Array
  /** Ends the program and its children; the call then rejects with the signal's reason. */
  signal?: AbortSignal
  /** Called with each piece of output, both streams, as it comes. */
  onOutput?: (text: string) => void
  /** Takes what it prints, of which the result has nothing then. */
  outputs?: Outputs
  /**
   * Its children, too, are killed when this process ends before the program: for shell commands, whose
   * children the parent-death signal does not reach.
   */
  leash?: boolean
}

export interface RunResult extends Exit {
  stdout: string
  stderr: string
}

/** A program whose terminal is ours: what it prints comes through `onData`, `write` types into it. */
export interface Pty {
  readonly pid: number
  /** Bytes as they come. Register in the same tick as `openPty`: what nobody listens to is dropped. */
  onData(listener: (data: Uint8Array) => void): void
  /** Standard error, where it is apart: what was written to it, before what the terminal is given later. */
  onStderr(listener: (data: Uint8Array) => void): void
  /** Types as soon as the program has read enough of what was typed before; nothing once it has ended. */
  write(data: string | Uint8Array): void
  /** Takes back what there has been no room for on the terminal so far, and so was not typed. */
  takeBack(): Uint8Array
  /** @param signal a name such as `'SIGTERM'`; `'SIGKILL'` where none is given */
  kill(signal?: NodeJS.Signals): void
  /** Resolves, never rejects, when the program has ended and all it printed has been given out. */
  readonly exited: Promise<Exit>
}

export interface PtyOptions {
  cwd?: string
  env?: Record<string, string>
  /** Terminal width in characters; 1000 by default, so that nothing wraps. */
  cols?: number
  rows?: number
  /** `'apart'`: standard error is no terminal, and comes through {@link Pty.onStderr}. */
  stderr?: 'merged' | 'apart'
  /** As {@link RunOptions.leash}. */
  leash?: boolean
}

/** Bytes in the path of a unix socket: sun_path in unix(7), less its end. */
export const LONGEST_SOCKET_PATH = 107

/** A unix socket of the host that waits for its one peer. */
export interface Listener {
  /** Resolves with the peer's stream; rejects when closed before one came. */
  readonly connection: Promise<Duplex>
  close(): void
}

export interface LockOptions {
  /** False: gives undefined at once where the lock is taken. True, the default: waits for it. */
  wait?: boolean
  /** True: any number of holders at once, as long as none of them is exclusive. */
  shared?: boolean
  /**
   * Another lock file. Whoever waits holds that one, too, until the wait is over; so all that name the
   * same one are let in in the order of asking, shared or not.
   */
  line?: string
  /**
   * Kept in the file while the lock is held, for those who wait; not where it is shared. A function is
   * called once the lock is got.
   */
  note?: string | (() => string)
  /** Ends the wait with the signal's reason. */
  signal?: AbortSignal
}

/** A lock on a file, held until released or until the process that took it has ended. */
export interface HostLock {
  /** Calling it again does nothing. */
  release(): Promise<void>
}

export interface PortQuestion {
  port: number
  /** An address of the host itself, such as `127.0.0.1`. */
  address: string
  protocol: 'tcp' | 'udp'
}

/** A file that somebody, perhaps another user, keeps for all to read. */
export interface SharedFile {
  name: string
  /** Whose it is. */
  uid: number
  text: string
}

/** What is known of a file without opening it. */
export interface FileFacts {
  /** Bytes. */
  size: number
  mtimeMs: number
  /** Permission bits. */
  mode: number
  uid: number
  gid: number
  /** Whether we may open it for reading, for writing. */
  readable: boolean
  writable: boolean
}

/**
 * A machine that VMs run on. Everything that touches a DUT goes through here, so that nothing above
 * knows whether the DUT is this machine. No program outlives the process that holds the `Host`: each
 * is started with a parent-death signal.
 */
export interface Host {
  /** For messages: `this machine`, or the remote host's name. */
  readonly name: string
  /**
   * Runs a program to its end, never through a shell. Resolves whatever its exit status. What its
   * children print within a second after that is in the result.
   *
   * @throws InfrastructureError when the program is missing, cannot be started, or printed more than
   * 1 GB to one stream
   */
  run(file: string, args: readonly string[], options?: RunOptions): Promise<RunResult>
  /** Starts a program on a terminal of its own. */
  openPty(file: string, args: readonly string[], options?: PtyOptions): Pty
  readFile(path: string): Promise<Uint8Array>
  /** Atomic: readers see the old file or the whole new one. */
  writeFile(path: string, data: string | Uint8Array, mode?: number): Promise<void>
  /** Makes the folder and those above it; `mode` applies to the last one. */
  makeDir(path: string, mode?: number): Promise<void>
  /** Undefined where there is nothing; links are followed. */
  fileFacts(path: string): Promise<FileFacts | undefined>
  /** Full path of a program, looked for in PATH; undefined where there is none. */
  findProgram(file: string): Promise<string | undefined>
  /** Names in the folder; empty where there is none. */
  listDir(path: string): Promise<string[]>
  /** Removes a file or a folder and all in it; nothing happens where there is none. */
  remove(path: string): Promise<void>
  /**
   * Waits at a unix socket for one peer.
   *
   * @throws InfrastructureError when the path is longer than {@link LONGEST_SOCKET_PATH}
   */
  listen(path: string): Promise<Listener>
  /**
   * Takes the lock of flock(2) on a file, which is made where there is none, or on a folder. Each
   * call is a holder of its own, also against others of the same process.
   *
   * @throws InfrastructureError when the file cannot be opened or flock is missing
   */
  lock(path: string, options: LockOptions & { wait: false }): Promise<HostLock | undefined>
  lock(path: string, options?: LockOptions): Promise<HostLock>
  /** The regular files of a folder whose names match, as far as we may read them; no link is followed. */
  readShared(folder: string, names: RegExp): Promise<SharedFile[]>
  /** Makes a file that all can read and only we can write. @throws where there is one already */
  createShared(path: string, text: string): Promise<void>
  /** Adds to a file of {@link createShared}, in one write. */
  appendShared(path: string, text: string): Promise<void>
  /**
   * For each path, whether anybody holds a lock on that file, in whatever mode; false where there is
   * no such file. Asking takes nothing away from anybody who asks for a lock a moment later.
   */
  held(paths: readonly string[]): Promise<boolean[]>
  /** Whether a program could listen there now. */
  portFree(question: PortQuestion): Promise<boolean>
}
