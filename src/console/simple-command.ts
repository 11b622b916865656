// Few forms on purpose: a command that is none of them is run by eval, which is right for all.
const WORD = `(?:[\\w@%+=:,./~*?\\[\\]-]|'[^']*'|"(?:[^"\\\\\`!$]|\\$\\w+)*"|\\$\\w+)+`
const REDIRECTION = `\\d?>>?(?:&\\d| *${WORD})|\\d?< *${WORD}`
const COMMAND = `${WORD}(?: +(?:${WORD}|${REDIRECTION}))*`
const PIPELINE = `${COMMAND}(?: *\\|(?!\\|) *${COMMAND})*`
const SIMPLE = new RegExp(`^ *${PIPELINE}(?: *(?:;|&&|\\|\\|) *${PIPELINE})* *$`)
const PIPED = new RegExp(`^ *${COMMAND}(?: *\\|(?!\\|) *${COMMAND})+ *$`)
const RESERVED =
  /(?:^|[\s;|&])(?:if|then|elif|else|fi|for|while|until|do|done|case|esac|in|select|function|time|coproc|\[\[|\]\])(?=$|[\s;|&])/

/** Tells whether a word of it is the shell's grammar. */
export function isReserved(command: string): boolean {
  return RESERVED.test(command)
}

/** Tells whether `command` is words, pipes and lists only: whole, whatever stands behind it. */
export function isSimple(command: string): boolean {
  return !/[^ -~\u00a0-\uffff]/.test(command) && SIMPLE.test(command) && !RESERVED.test(command)
}

/** Tells whether `command` is nothing but such commands with pipes between them. */
export function isPipeline(command: string): boolean {
  return isSimple(command) && PIPED.test(command)
}
