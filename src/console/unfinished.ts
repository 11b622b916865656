import { dollarQuote } from './line.ts'
import { isSimple } from './simple-command.ts'

/** A parser's status for what it cannot read; older shells say 1. */
const SYNTAX_STATUS = [1, 2]

/** Tells whether a shell would wait for more lines, though nothing tells once the command has been run. */
export function looksUnfinished(command: string): boolean {
  return !command.includes('\n') && /(?<!<)<<(?!<)/.test(command)
}

/** Tells whether the command joins its last line to one that is missing. */
export function endsInBackslash(command: string): boolean {
  return /(?<!\\)(?:\\\\)*\\$/.test(command) && !/[#\n]/.test(command)
}

/** Tells whether a command that ended so may have been unfinished. */
export function mayBeUnfinished(command: string, exitCode: number | undefined): boolean {
  return exitCode !== undefined && SYNTAX_STATUS.includes(exitCode) && !isSimple(command)
}

/** The command, of which `set -e` and an ERR trap see nothing, whose status is 1 where bash's own parser finds that the rest of `command` is missing. */
export function verdictOn(command: string): string {
  const ends = ['*unexpected\\ EOF*', '*unexpected\\ end\\ of*', '*delimited\\ by\\ end-of-file*']
  const said = `$(LC_ALL=C "$BASH" -n -c ${dollarQuote(command)} 2>&1)`
  return `case ${said} in ${ends.join('|')}) ((0));; *) ((1));; esac&&:`
}
