import {
  CommandFailedError,
  type DutError,
  type DutErrorDetails,
  GuestError,
  UsageError,
} from '../errors.ts'
import { type Outputs, OVER_LIMIT_HINT, withText } from '../output.ts'

export interface ExecResult {
  /**
   * Printed text, decoded as UTF-8; `stdoutBytes` has it byte for byte. Reading it throws a UsageError
   * where that is longer than a string can be: 2^29 - 24 characters.
   */
  stdout: string
  /** Empty unless `stderr: 'apart'`. */
  stderr: string
  stdoutBytes: Uint8Array
  /** 0 to 255; 128 + n where signal n ended it. */
  exitCode: number
  durationMs: number
}

/** @throws UsageError for a command that no shell can be given */
export function checkCommand(command: unknown): void {
  if (typeof command === 'string' && !command.includes('\0')) return
  throw new UsageError('exec: the command is not a string without NUL characters')
}

/** A command as it stands in a message. */
export function nameOf(command: string): string {
  const line = command.trim().split('\n', 1)[0] ?? ''
  return JSON.stringify(line.length > 120 ? `${line.slice(0, 120)}…` : line)
}

type Family = new (message: string, details: DutErrorDetails) => DutError

interface Ended {
  exitCode: number
  /** Makes a status other than 0 an error. */
  check?: boolean
  details: DutErrorDetails & { command: string }
}

/** The error of a command of a guest that ended, if that is one. */
export function guestError(outputs: Outputs, ended: Ended): DutError | undefined {
  const isFailed = ended.check && ended.exitCode !== 0
  return endError(outputs, ended, isFailed ? CommandFailedError : GuestError)
}

/** The error of a command that ended, if that is one: it printed too much, or its status is checked. */
export function endError(
  outputs: Outputs,
  { exitCode, check = false, details }: Ended,
  Failure: Family,
): DutError | undefined {
  const over = outputs.overLimit()
  if (over === undefined && !(check && exitCode !== 0)) return undefined
  const much = over === undefined ? '' : `, and ${over}`
  return new Failure(`${nameOf(details.command)} ended with status ${exitCode}${much}`, {
    ...details,
    tail: outputs.tail(),
    ...(over !== undefined && { hint: OVER_LIMIT_HINT }),
  })
}

/** The result of a command that ended. */
export function resultOf<T extends { exitCode: number; durationMs: number }>(
  { out, err }: Outputs,
  ended: T,
): T & ExecResult {
  const stdoutBytes = out.bytes()
  return withText({ ...ended, stdoutBytes }, { stdout: stdoutBytes, stderr: err.bytes() })
}
