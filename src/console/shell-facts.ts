import type { Prompt } from './marks.ts'
import { isReserved } from './simple-command.ts'
import type { Manner, Naming } from './typed.ts'

/** Known behaviour of a shell and its terminal, from its marks and from what came with them. */
export interface ShellFacts {
  status: number
  /** `${PIPESTATUS[*]}`. */
  each: string
  /** `$_`, where the mark itself has put another in its place. */
  last?: string
  /** Lines that the shell has read. */
  line: number
  /** At a prompt, something is printed or run. */
  isNoisy: boolean
  hasTrap: boolean
  /** `$-`. */
  options: string
  /** The terminal repeats what is typed. */
  isEchoed: boolean
  /** The shell may edit its lines by readline, which prints when it begins and when it ends one. */
  isEdited: boolean
  naming: Naming
  /** Its output may go elsewhere than to the terminal. */
  isRedirected: boolean
}

export const NEW_SHELL: ShellFacts = {
  ...{ status: 0, each: '', line: 0, isNoisy: false, hasTrap: false, options: '' },
  ...{ isEchoed: false, isEdited: false, naming: 'plain', isRedirected: false },
}

/** Commands that may set a DEBUG trap, or have the terminal's lines edited. */
const SUSPECT = /\b(?:trap|DEBUG|source|bind|emacs|vi)\b|(?:^|[;&|\n])\s*\.\s/
/** Commands after which a shell may edit its lines. */
const EDITS = /\b(?:source|emacs|vi)\b|(?:^|[;&|\n])\s*\.\s/
/** Functions in place of the builtins that are typed. */
const SHADOW = /\b(?:eval|echo|printf|trap)\s*\(\s*\)|\bfunction\s+(?:eval|echo|printf|trap)\b/
const PLAIN = /^[\w@%+:,./-]+(?: [\w@%+:,./-]+)*$/
const LONGEST_PLAIN = 200
/** Commands that change the shell or its terminal. */
const CHANGES =
  /^(?:\.|alias|bash|builtin|command|declare|enable|eval|exec|export|local|readonly|reset|set|sh|shopt|source|stty|su|sudo|trap|tset|tput|typeset|unalias|unset)(?: |$)/

/** The same in place of what keeps them from being found. */
const SHADOW_OF_COMMAND = /\bcommand\s*\(\s*\)|\bfunction\s+command\b/

/** Takes in what the end of a line tells. */
export function heard(facts: ShellFacts, mark: Prompt, command = ''): ShellFacts {
  const { status, isNoisy } = mark
  const known = { ...facts, status, isNoisy }
  // A probe's own status is the mark's before it: the command's is what the next one is to find.
  if (mark.isAnswer && (mark.facts?.line ?? facts.line + 1) === facts.line + 1) {
    const { each, last } = facts
    // One in short has two lines.
    return { ...known, line: facts.line + 2, ...mark.facts, status: facts.status, each, last }
  }
  if (mark.facts) return { ...known, ...mark.facts, last: undefined }
  return { ...known, each: String(status), line: facts.line + 1, last: command.split(' ').at(-1) }
}

/** Foresees what `command` makes of the shell that runs it. */
export function foreseen(facts: ShellFacts, command: string): ShellFacts {
  return {
    ...facts,
    naming: namingFor(facts.naming, command),
    isEdited: facts.isEdited || EDITS.test(command),
    isRedirected: facts.isRedirected || /\bexec\b/.test(command),
  }
}

function namingFor(naming: Naming, command: string): Naming {
  if (SHADOW_OF_COMMAND.test(command)) return 'path'
  return naming === 'plain' && SHADOW.test(command) ? 'command' : naming
}

/** How to type `command`, after what is known of the shell. */
export function mannerFor(command: string, facts: ShellFacts): Manner {
  const { status, options, isNoisy, hasTrap, isEchoed, isEdited, naming } = facts
  const isTraced = options.includes('x')
  const isLoud = isNoisy || hasTrap || isEchoed || isEdited || isTraced || options.includes('v')
  const isCareful = isLoud || naming !== 'plain' || SUSPECT.test(command)
  const isPlain =
    command.length < LONGEST_PLAIN &&
    PLAIN.test(command) &&
    !CHANGES.test(command) &&
    !isReserved(command)
  return {
    // A process is started for most, so that those are made only where they can be seen.
    status: /\$\{?\?/.test(command) ? status : Math.min(status, 1),
    ...{ isCareful, isTraced, naming, isStrict: options.includes('e') },
    isQuick: isPlain && !isCareful && !facts.isRedirected && !options.includes('u'),
    each: command.includes('PIPESTATUS') ? facts.each : '',
    ...(/\$\{?_\b/.test(command) && { last: facts.last }),
  }
}
