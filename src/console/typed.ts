import { dollarQuote, isPlainLine, pieces, shellQuote } from './line.ts'
import { RS } from './marks.ts'
import { isPipeline, isSimple } from './simple-command.ts'

/** How the line of a command is typed. */
export interface Manner {
  /** `$?` and `${PIPESTATUS[*]}` that the command is to find. */
  status: number
  each: string
  /** `$_` that the command is to find, where it looks at it and that is not there any more. */
  last?: string
  /** Something besides the command may print: its output begins with a mark then. */
  isCareful: boolean
  /** The shell traces what it runs, and tells `eval` apart. */
  isTraced: boolean
  /** `set -e`: a status that is not 0 may end the shell. */
  isStrict: boolean
  /** A few words that a shell is not changed by, as far as one can see: typed and answered in short. */
  isQuick: boolean
  naming: Naming
}

/**
 * How the builtins that are typed are named: by their names, or so that functions of these names are not
 * found; `printf` is then a program where the builtin was disabled. `path` looks neither `command` nor
 * `printf` up. No one of them is right for every shell.
 */
export const NAMINGS = ['plain', 'command', 'path'] as const
export type Naming = (typeof NAMINGS)[number]

// The terminal, wherever output goes to: what a shell reads is open for both (login, getty, ssh, …).
const TERMINAL = '>&0'
// Not closed: a trap that fails to print would end a shell under `set -e`.
const SILENT = '&>/dev/null'
// A shell that started jobs tells of their ends at its prompt.
const NOISE = '${PS1:+p}${PS0:+p}${PROMPT_COMMAND[*]:+p}${!:+p}'
const FACTS = `\${LINENO-}:$-:${NOISE}:\${PIPESTATUS[*]}:$?`
/** The variable in which a command is that is too long for one line. */
const LONG = '__dut_line'
const NOTHING = /^\s*(?:#.*)?$/

/** A line, and the id of the mark that answers it. */
export interface TypedLine {
  id: string
  text: string
}

/** The words that a line is made of. No alias is looked at behind a backslash. */
function wordsOf(naming: Naming) {
  const by = { plain: '\\', command: '\\command ', path: '\\builtin ' }[naming]
  const printf = naming === 'path' ? '/usr/bin/printf' : `${by}printf`
  return { printf, eval: `${by}eval`, trap: `${by}trap` }
}

/**
 * The line by which a shell, whichever it is, says that it has read everything typed before.
 *
 * @param before run first, and guarded
 */
export function probeLine(
  id: string,
  { before = '', naming = 'plain' }: { before?: string; naming?: Naming } = {},
): string {
  const words = wordsOf(naming)
  const first = before === '' ? '' : `${words.eval} ${shellQuote(before)};`
  return `${first}${words.printf} "\\036${id}:${FACTS}:$$\\036%.0s" "$_"${TERMINAL}\n`
}

/** The same in short, for a shell that is known; what is in `before` cannot keep it from answering. */
export function quickProbe(id: string, { before = '' }: { before?: string } = {}): string {
  return `${before}\n\\echo "${RS}${id}=$PS1$!:$?;$$${RS}"\n`
}

/**
 * The lines to type at a prompt of bash so that it runs `command` as one, whatever is in it, and says
 * then that it is back. `eval` keeps what gives up a line (an unset variable, a division by 0) from
 * giving up the mark, and what is unfinished from waiting for its rest. Where there are several lines,
 * each is answered by a mark, which serves as flow control.
 *
 * @param idOf gives an id for each line; the last is the command's
 */
export function commandLines(command: string, manner: Manner, idOf: () => string): TypedLine[] {
  const { isCareful, isStrict, naming, isQuick } = manner
  const last = idOf()
  if (isQuick) return [{ id: last, text: quickLine(last, command, restore(manner)) }]
  const words = wordsOf(naming)
  const begin = isCareful ? `{ ${beginMark(last, words)}${restore(manner)}}${SILENT}` : ''
  const before = isCareful ? '' : restore(manner)
  const end = isCareful ? `{ ${carefulEnd(last, words)}}${SILENT}` : endMark(last, words)
  const careful = isCareful ? `${begin}\n${command}` : command
  // Behind eval its status would end the shell, also one that `set -e` lets pass.
  const text = isStrict ? `${careful}\n${end}` : careful
  const after = isStrict ? '' : `;${end}`
  const line = runLine()
  if (isPlainLine(line)) return [{ id: last, text: `${line}\n` }]
  return [
    ...pieces(text).map((piece, i) => {
      const id = idOf()
      return { id, text: `${LONG}${i === 0 ? '' : '+'}=${piece};${probeLine(id, { naming })}` }
    }),
    { id: last, text: `${before}${words.eval} "unset ${LONG};$${LONG}"${after}\n` },
  ]

  function runLine(): string {
    if (NOTHING.test(command)) return `${before}${isCareful ? `${begin};` : ''}${end}`
    if (isRaw(command, manner)) {
      return `${before}${isCareful ? `${begin};` : ''}${command};${end}`
    }
    const isPlain = isPlainLine(text) && !text.includes('\t')
    return `${before}${words.eval} ${isPlain ? shellQuote(text) : dollarQuote(text)}${after}`
  }
}

/**
 * Decides to type `command` as it is: `eval` would hide the statuses of a pipeline, show in a trace, count
 * a status that `set -e` lets pass, and let `set -o vi` end a bash of today by a segmentation fault.
 */
function isRaw(command: string, { isTraced, isStrict }: Manner): boolean {
  if (isPipeline(command)) return true
  return isSimple(command) && (isTraced || isStrict || /^ *set /.test(command))
}

/** A mark of few bytes, for a console may take 16 at a time; its own output is the terminal, as yet. */
function quickLine(id: string, command: string, before: string): string {
  return `${before}${command};\\echo "${RS}${id}=$PS1$!:$?${RS}"\n`
}

type Words = ReturnType<typeof wordsOf>

function beginMark(id: string, { printf }: Words): string {
  return `${printf} "\\036${id}+\\036%.0s" "$_"${TERMINAL};`
}

/** The mark behind a command. `%.0s` prints nothing, and leaves `$_` as it was. */
function endMark(id: string, { printf }: Words): string {
  return `${printf} "\\036${id}:${FACTS}\\036%.0s" "$_"${TERMINAL}`
}

/** The same, with the DEBUG trap in it. */
function carefulEnd(id: string, { printf, trap }: Words): string {
  return [
    `${printf} "\\036${id}:${FACTS};%.0s" "$_"${TERMINAL}`,
    `${LONG}=$_`,
    `${trap} -p DEBUG${TERMINAL}`,
    `${printf} "\\036%.0s" "$${LONG}"${TERMINAL};`,
  ].join(';')
}

/** Makes `$?`, PIPESTATUS and `$_` what they were; no status here ends a shell or runs a trap. */
function restore({ last, ...manner }: Manner): string {
  return `${last === undefined ? '' : `: ${last};`}${restoreStatus(manner)}`
}

function restoreStatus({ status, each }: Pick<Manner, 'status' | 'each'>): string {
  if (/^\d+( \d+)+$/.test(each)) {
    const all = each.replace(/\d+/g, '(exit $&)').replaceAll(' (', '|(')
    return each.endsWith(' 0') ? `${all};` : `${all}&&:;`
  }
  if (status === 0) return ''
  return status === 1 ? '((0))&&:;' : `(exit ${status})&&:;`
}
