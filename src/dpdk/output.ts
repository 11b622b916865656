/**
 * What testpmd's threads print at any moment, in the middle of a prompt or an echo too: the vhost
 * library's log lines, and the ports' events, which begin with an empty line of their own.
 */
const LOG = String.raw`(?:VHOST_\w+: [^\n]*\n|\nPort \d+: [\w ]+ event\n)`
const LOGS = new RegExp(LOG, 'g')

/** The prompt, which cmdline writes byte by byte: a log line may stand between any two of them. */
export const PROMPT = new RegExp([...'testpmd> '].join(`${LOG}*`))

/** `output` without log lines, and without the echo of the line that it answers. */
export function cleanOutput(output: string, line: string): string {
  const text = output.replaceAll(LOGS, '')
  return text.startsWith(`${line}\n`) ? text.slice(line.length + 1) : text
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
