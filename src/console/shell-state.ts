import type { WaitOptions } from '../wait.ts'
import type { AccountState } from './account.ts'
import type { PendingLine } from './marks.ts'
import type { ShellFacts } from './shell-facts.ts'

export interface AdoptOptions extends WaitOptions {
  /** What its machine is called now; `$HOSTNAME` is from the shell's start. */
  hostname?: string
  /** It is known to print nothing at its prompt, and to have no options that a short line would show. */
  isPlain?: boolean
}

/** What is known of a shell whose machine stands still. */
export interface ShellState {
  account: AccountState
  lines: readonly PendingLine[]
  facts: ShellFacts
  heldBy: string | undefined
}
