import { InfrastructureError } from '../errors.ts'

/** QEMU refused a command. */
export class QmpError extends InfrastructureError {
  override name = 'QmpError'
  /** QEMU's error class, `GenericError` nearly always; `CommandNotFound`, `DeviceNotFound`, … */
  readonly class: string
  /** What QEMU said. */
  readonly desc: string

  constructor(command: string, refusal: { class: string; desc: string }) {
    super(`QEMU refused ${command}: ${refusal.desc}`, { command })
    this.class = refusal.class
    this.desc = refusal.desc
  }
}

/** The connection to QEMU ended, with all that was under way on it. */
export class QmpClosedError extends InfrastructureError {
  override name = 'QmpClosedError'

  constructor(waitedFor: string, cause?: Error) {
    const why = cause === undefined ? '' : ` (${cause.message})`
    super(`QEMU's control connection ended while ${waitedFor} was waited for${why}`, {
      command: waitedFor,
      cause,
      hint: 'QEMU has exited or was killed: its own messages say why',
    })
  }
}
