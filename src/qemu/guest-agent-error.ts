import { GuestError } from '../errors.ts'

const NOT_THERE =
  'its agent is too old or has it switched off (block-rpcs in its configuration): vm.agent.info() lists what it does'

/** The QEMU guest agent refused a command, or failed at it. */
export class GuestAgentError extends GuestError {
  override name = 'GuestAgentError'
  /** The agent's error class: `GenericError` nearly always, `CommandNotFound` for what it does not do. */
  readonly class: string
  /** What the agent said. */
  readonly desc: string

  constructor(
    command: string,
    refusal: { class: string; desc: string },
    where: { vm?: string; dut?: string } = {},
  ) {
    const isOff = refusal.class === 'CommandNotFound' || /has been disabled/.test(refusal.desc)
    super(`the guest agent refused ${command}: ${refusal.desc}`, {
      ...{ ...where, command },
      ...(isOff && { hint: NOT_THERE }),
    })
    this.class = refusal.class
    this.desc = refusal.desc
  }
}

/** How far a call came that was not answered in time. */
export type Silence = 'busy with an earlier call' | 'not there' | 'no answer'

/** A call was not answered in time. Whoever knows the VM makes an error of it that says more. */
export class GuestAgentSilence extends Error {
  readonly silence: Silence
  readonly elapsedMs: number

  constructor(command: string, silence: Silence, elapsedMs: number) {
    super(`${command}: ${silence}`)
    this.silence = silence
    this.elapsedMs = elapsedMs
  }
}
