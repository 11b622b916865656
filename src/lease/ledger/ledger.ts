import type { Host } from '../../host/host.ts'
import { outsideScope } from '../../scope.ts'
import type { Owner } from '../locks/holder.ts'
import { section } from '../locks/section.ts'

export interface TurnOptions {
  owner?: Owner
  /** Ends the wait for the turn. */
  signal?: AbortSignal
}

/**
 * Runs `fn` while nobody else changes the host's ledger or what it stands for. Everything in it must
 * be quick: all who start or stop VMs on the host come through here.
 */
export function withLedger<T>(
  host: Host,
  fn: () => Promise<T>,
  options: TurnOptions = {},
): Promise<T> {
  // A test that is over must still be able to give back what it had.
  return outsideScope(() => section(host, 'vitest-dut ledger', fn, options))
}
