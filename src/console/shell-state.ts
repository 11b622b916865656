import type { WaitOptions } from '../wait.ts'
import type { AccountState } from './account.ts'

export interface AdoptOptions extends WaitOptions {
  /** What its machine is called now; `$HOSTNAME` is from the shell's start. */
  hostname?: string
  /** Of the marks that it was set up with, where that was done from another console. */
  secret?: string
}

/** What is known of a shell whose machine stands still. */
export interface ShellState {
  account: AccountState
  prompts: number
  heldBy: string | undefined
}
