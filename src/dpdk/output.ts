import { CutPrompt } from '../console/prompt.ts'

/**
 * testpmd's prompt, which cmdline writes character by character. Log lines go to standard error, but what
 * a thread prints, such as a port's event, goes where the prompt does.
 */
export const PROMPT = new CutPrompt('testpmd> ', "testpmd's prompt")

/** A line that testpmd's callbacks print at any moment, with an empty line of its own before it. */
const EVENT = /\nPort \d+: [\w -]+ event\n/g
/** One whose own empty line ended the echo. Its last newline is that of the echo. */
const EVENT_IN_ECHO = /^(?:Port \d+: [\w -]+ event\n\n)+/

/** A library's log line: its name, or the function's, comes first. */
const LOG_LINE = /^(?:[A-Z][A-Z0-9_.]*|\w+\(\)): .*\n?/gm

/** An answer without the ports' events that came in between. */
export function withoutEvents(answer: string): string {
  return answer.replace(EVENT_IN_ECHO, '').replaceAll(EVENT, '')
}

/** testpmd's own part of standard error, as far as that can be told from the libraries' lines. */
export function withoutLogs(stderr: string): string {
  return stderr.replaceAll(LOG_LINE, '')
}

/** Complaints after which testpmd shows its prompt as if nothing had happened (app/test-pmd of 22.11). */
const COMPLAINTS: readonly [pattern: RegExp, hint: string | undefined][] = [
  [
    /^.*failed to bind: Address already in use.*$/m,
    'another backend listens there, or a dead one left its socket: remove the file',
  ],
  [/^.*failed to bind: .*$/m, 'does the folder of the socket exist?'],
  [/^Command not found$/m, 'see `help all` in testpmd'],
  [/^(Bad arguments|Ambiguous command|Incomplete command)$/m, 'see `help all` in testpmd'],
  [/^Invalid port \d+$/m, '`show port summary all` lists the ports'],
  [/^Not all ports were started$/m, 'start them first: cmd("port start all")'],
  [/^Start ports failed$/m, undefined],
  [/^Packet forwarding already started$/m, 'stop() first; a mode is set before start()'],
  [/^Packet forwarding not started$/m, 'start() first'],
  [/^Please stop .*$/m, undefined],
  [/^Port \d+ is now not stopped$/m, 'stop it first: cmd("port stop all")'],
  [/^.* - give up$/m, undefined],
  [/^.* - ?ignored$|^nb .* ignored$/m, undefined],
  [/^(Invalid|Fail to|Failed to|Cannot) .*$/m, undefined],
]

/** What leaves a testpmd that has just started, and shows its prompt, without a port to use. */
export const UNUSABLE =
  /No probed ethernet devices|failed to bind: |Fail to configure port|Start ports failed/

export interface Complaint {
  line: string
  hint?: string
}

/** The complaint in what testpmd printed, if there is one. */
export function findComplaint(output: string): Complaint | undefined {
  for (const [pattern, hint] of COMPLAINTS) {
    const line = pattern.exec(output)?.[0]
    if (line !== undefined) return { line: line.trim(), ...(hint === undefined ? {} : { hint }) }
  }
  return undefined
}
