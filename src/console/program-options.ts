import type { Lifeline } from '../lifeline.ts'
import type { Duration } from '../units.ts'
import type { Pattern } from './pattern.ts'
import type { CutPrompt } from './prompt.ts'
import type { ByteStream } from './stream.ts'

/** A terminal with a program on it, in a guest or on the host. */
export interface ProgramTerminal extends ByteStream {
  /** The program's status; rejects only where it could not be started. */
  readonly exited: Promise<number>
  /** Ends the terminal and everything on it. */
  close(): void
}

export interface SpawnOptions {
  /** Text that the program prints when it waits for a line, e.g. `'testpmd> '`. */
  prompt?: Pattern | CutPrompt
  /**
   * `'apart'`: standard error is no terminal; neither prompt nor expected text are looked for in it.
   * `console` has it all the same.
   */
  stderr?: 'merged' | 'apart'
  /** Time until the first prompt; 30 s where none is given. */
  timeout?: Duration
  signal?: AbortSignal
  /** Hears all that it prints, also where it never gets to its prompt. */
  onText?: (text: string) => void
}

export interface ProgramContext {
  vm?: string
  dut?: string
  /** The lifeline of the machine that the program runs on. */
  life?: Lifeline
  /** Says why a program ended with that status by itself, where more is known. */
  explain?: (status: number, elapsedMs: number) => Promise<string | undefined>
}
