import { formatDuration } from './format.ts'

/** What every error of this package can carry. All fields are optional but `message`. */
export interface DutErrorDetails {
  /** Name of the VM it happened to. */
  vm?: string
  /** Name of the DUT it happened on. */
  dut?: string
  /** The command, program or step that was under way. */
  command?: string
  /** How long it had been under way, in milliseconds. */
  elapsedMs?: number
  /** The last lines that the console or the program printed. */
  tail?: string
  /** What to do next, as one sentence. */
  hint?: string
  cause?: unknown
}

/**
 * Base of every error that this package throws on purpose. Its three families tell a reader whose
 * turn it is: {@link GuestError} (the software under test), {@link InfrastructureError} (the host)
 * and {@link UsageError} (the call).
 */
export class DutError extends Error {
  override name = 'DutError'
  declare readonly vm?: string
  declare readonly dut?: string
  declare readonly command?: string
  declare readonly elapsedMs?: number
  declare readonly tail?: string
  declare readonly hint?: string
  /** The first line alone, without the tail and the hint. */
  readonly shortMessage: string

  constructor(message: string, details: DutErrorDetails = {}) {
    super(compose(message, details), details.cause === undefined ? {} : { cause: details.cause })
    this.shortMessage = message
    const { vm, dut, command, elapsedMs, hint } = details
    const tail = details.tail === undefined ? undefined : tailLines(details.tail).join('\n')
    for (const [key, value] of Object.entries({ vm, dut, command, elapsedMs, tail, hint })) {
      if (value !== undefined) Object.defineProperty(this, key, { value, enumerable: true })
    }
  }
}

/** The guest is at fault: it did not boot, panicked, went away, or did not answer as expected. */
export class GuestError extends DutError {
  override name = 'GuestError'
}

/** The host is at fault: a program is missing or refuses, a resource is taken, a wait was too long. */
export class InfrastructureError extends DutError {
  override name = 'InfrastructureError'
}

/** The call is at fault: an unknown option, a value out of range, an impossible combination. */
export class UsageError extends DutError {
  override name = 'UsageError'
}

/** A step's deadline passed before what it waited for was seen. */
export class CommandTimeoutError extends GuestError {
  override name = 'CommandTimeoutError'
}

/** A command checked for success ended with another status. */
export class CommandFailedError extends GuestError {
  override name = 'CommandFailedError'
}

/** The VM was gone, or went away, while something waited for it. */
export class VmDiedError extends GuestError {
  override name = 'VmDiedError'
}

/** The same time-out with something to do next. */
export function withHint(
  error: CommandTimeoutError,
  hint: string | undefined,
): CommandTimeoutError {
  if (hint === undefined) return error
  const { shortMessage, vm, dut, command, elapsedMs, tail, cause } = error
  return new CommandTimeoutError(shortMessage, { vm, dut, command, elapsedMs, tail, hint, cause })
}

const TAIL_LINES = 20
const LINE_LENGTH = 300

/** The one place where an error's text is put together: where, what, how long, the tail, the hint. */
function compose(message: string, { vm, dut, elapsedMs, tail, hint }: DutErrorDetails): string {
  const where = [dut, vm].filter((part) => part !== undefined).join('/')
  const after = elapsedMs === undefined ? '' : ` (after ${formatDuration(elapsedMs)})`
  const parts = [`${where === '' ? '' : `${where}: `}${message}${after}`]
  if (tail !== undefined) parts.push(quoteTail(tail))
  if (hint !== undefined) parts.push(`→ ${hint}`)
  return parts.join('\n')
}

function quoteTail(tail: string): string {
  const lines = tailLines(tail)
  if (lines.length === 0) return '  (nothing was printed)'
  return ['  the last lines were:', ...lines.map((line) => `  | ${line}`)].join('\n')
}

/** The end of a text as it can stand in a message, whatever a program wrote. */
function tailLines(text: string): string[] {
  return lastLines(text.slice(-TAIL_LINES * LINE_LENGTH), TAIL_LINES).map((line) => {
    const printable = line.replaceAll(/[\x00-\x08\x0b-\x1f\x7f]/g, '\ufffd')
    return printable.length > LINE_LENGTH ? `${printable.slice(0, LINE_LENGTH)}…` : printable
  })
}

/** The last `count` lines of a text that hold anything, without the blank lines around them. */
export function lastLines(text: string, count: number): string[] {
  const lines = text.replaceAll('\r', '').split('\n')
  while (lines.length > 0 && lines.at(-1)?.trim() === '') lines.pop()
  const tail = lines.slice(-count)
  while (tail.length > 0 && tail[0]?.trim() === '') tail.shift()
  return tail
}

/** `error` as an Error, whatever was thrown. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

/** The first line of whatever was thrown. */
export function firstLine(error: unknown): string {
  const { message } = asError(error)
  return message.split('\n', 1)[0] ?? message
}
