import { asError, DutError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'

/** `degraded`: everything runs, but slower, or not everything; `missing`: no VM runs. */
export type Status = 'ok' | 'degraded' | 'missing'

/** What was found out about one thing. */
export interface Finding {
  status: Status
  /** For people, without a line break. */
  detail: string
  /** The line to type in a shell. */
  fix?: string
}

/** One thing to look at; whatever `look` throws is a finding, too. */
export interface Check {
  name: string
  look(machine: Machine): Promise<Finding>
}

export interface Machine {
  host: Host
  /** Whether we are root. */
  root: boolean
  uid: number
}

export function ok(detail: string): Finding {
  return { status: 'ok', detail }
}

/** A fix that is empty is left out. */
export function degraded(detail: string, fix = ''): Finding {
  return { status: 'degraded', detail, ...(fix !== '' && { fix }) }
}

export function missing(detail: string, fix = ''): Finding {
  return { ...degraded(detail, fix), status: 'missing' }
}

/** The same line for a user who is not root. */
export function asRoot({ root }: Pick<Machine, 'root'>, line: string): string {
  if (root) return line
  return line
    .split(' && ')
    .map((command) => `sudo ${command}`)
    .join(' && ')
}

/** Hints that end in a line to type, with who has to type it before. */
const HINTED = /^(type|on Debian|as root on [^:]+|[^:]+, in this project): (.+)$/

/** An error as a finding: its hint is the line to type where it has one, and else part of the detail. */
export function failure(machine: Pick<Machine, 'root'>, error: unknown): Finding {
  if (!(error instanceof DutError)) return missing(asError(error).message)
  const { shortMessage, hint } = error
  const [, who, line] = HINTED.exec(hint ?? '') ?? []
  const detail = shortMessage.trim().replaceAll(/\s*\n\s*/g, '; ')
  if (line === undefined) return missing(hint === undefined ? detail : `${detail}: ${hint}`)
  return missing(detail, /^(on|as root)/.test(who ?? '') ? asRoot(machine, line) : line)
}
