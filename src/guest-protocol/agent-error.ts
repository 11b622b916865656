import { GuestError, UsageError } from '../errors.ts'

/** The error for a `fail` frame. */
export function agentError(
  payload: Uint8Array,
  where: { vm?: string; dut?: string } = {},
): GuestError {
  return new GuestError(`the guest's agent could not do it: ${Buffer.from(payload)}`, where)
}

/** The error for whatever needs an agent where there is none. @param reason why there is none */
export function noAgentError(reason: string): UsageError {
  return new UsageError(`there is no agent in this guest: ${reason}`, {
    hint: 'vm.cmd and vm.console do without; all else needs it, and it needs root and bash there',
  })
}
