import { randomInt } from 'node:crypto'

/**
 * What a guest's shell says besides its output: marks that nobody could take for output, each of them
 * between two record separators (0x1e).
 *
 *     begin   RS id "+" RS                                   what comes now is the command's output
 *     end     RS id ":" facts RS                              the shell is back; typed.ts has the facts
 *     end     RS id "=" prompt ":" status RS NL               the same in short
 *     answer  RS id "=" prompt ":" status ";" pid RS NL       the same, of a probe
 *     banner  RS "dut-shell " pid RS NL                       a new shell of the default guest
 *
 * The lines that are typed say the marks (typed.ts), so that nothing in the shell is needed for them: no
 * variable, no function, no prompt. Each line has an id of its own, and only marks whose lines were typed
 * and not answered yet are marks: those of an old transcript that is shown again are output.
 */
export type Mark = Prompt | { kind: 'begin'; at: number } | { kind: 'banner' }

export interface Prompt {
  kind: 'prompt'
  /** Counts the lines that were typed: this is the end of that one. */
  at: number
  /** `$?` of the line that ended. */
  status: number
  /** The shell prints something at its prompt, or runs what may. */
  isNoisy: boolean
  /** Facts that only a mark of full length has. */
  facts?: {
    /** `${PIPESTATUS[*]}`. */
    each: string
    /** How many lines the shell has read, by its own count. */
    line: number
    /** `$-`: the shell's options, a letter each. */
    options: string
    /** A DEBUG trap is set; looked at by lines that are typed with care only. */
    hasTrap?: boolean
  }
  /** This answers a probe, not a command. */
  isAnswer: boolean
  /** The shell's own process, where a probe was answered. */
  pid?: number
}

export const RS = '\x1e'
const BANNER = 'dut-shell '
/** The longest mark; a DEBUG trap may be in it. */
const LONGEST = 4096
/** Lines that may be answered late: each may have started the shell that the next was typed into. */
const MOST_PENDING = 64

/** A line that was typed and is to be answered by a mark. */
export interface PendingLine {
  id: string
  at: number
  isProbe: boolean
}

const END = /^:(\d*):([A-Za-z]*):(p*):([\d\s]*):(\d+)(?::(\d+))?(?:;([\s\S]*))?$/
const SHORT_END = /^=([\s\S]*):(\d+)(?:;(\d+))?$/

/** 52 letters, so that an old transcript hardly ever shows the id of a line that was typed now. */
function randomLetter(): number {
  const n = randomInt(52)
  return n < 26 ? 65 + n : 71 + n
}

/** Recognises the marks of one console, in the order in which they come. */
export class MarkReader {
  readonly #prefix = String.fromCharCode(...Array.from({ length: 3 }, randomLetter))
  #count = 0
  #typed = 0
  /** Those that were typed and not answered. */
  pending: readonly PendingLine[] = []

  /** An id for a line. */
  makeId(): string {
    return this.#prefix + (++this.#count).toString(36)
  }

  /** The line of that id is typed now, and will be answered; its number. */
  await(id: string, { isProbe = false } = {}): number {
    const at = ++this.#typed
    this.pending = [...this.pending.slice(1 - MOST_PENDING), { id, at, isProbe }]
    return at
  }

  /** The number of the line that was typed last. */
  get typed(): number {
    return this.#typed
  }

  /** The shell that was typed to is gone, and all its lines with it. */
  forget(): void {
    this.pending = []
  }

  /** The mark that stands between two record separators, or undefined when it is output. */
  read(body: string): Mark | undefined {
    if (/^dut-shell \d+$/.test(body)) return { kind: 'banner' }
    const at = this.pending.findLastIndex(
      ({ id }) => body.startsWith(id) && /^[+:=]/.test(body.slice(id.length)),
    )
    const line = this.pending[at]
    if (line === undefined) return undefined
    const rest = body.slice(line.id.length)
    if (rest === '+') return { kind: 'begin', at: line.at }
    const prompt = readEnd(rest)
    if (prompt) this.pending = this.pending.filter((other) => other !== line)
    return prompt && { ...prompt, at: line.at, isAnswer: line.isProbe }
  }

  /** Whether `body`, whose end has not come yet, could become a mark. */
  couldBecome(body: string): boolean {
    const starts = [BANNER, ...this.pending.flatMap(({ id }) => [`${id}:`, `${id}=`, `${id}+`])]
    return starts.some((start) =>
      body.length < start.length
        ? start.startsWith(body)
        : body.startsWith(start) &&
          body.length < (/[:=]$/.test(start) ? LONGEST : start.length + 20),
    )
  }
}

function readEnd(text: string): Omit<Prompt, 'at' | 'isAnswer'> | undefined {
  const short = SHORT_END.exec(text)
  if (short) {
    const [, noise, status, pid] = short
    return {
      ...{ kind: 'prompt', status: Number(status), isNoisy: noise !== '' },
      ...(pid !== undefined && { pid: Number(pid) }),
    }
  }
  const end = END.exec(text)
  if (end === null) return undefined
  const [, line, options = '', noise, each = '', status, pid, trap] = end
  return {
    ...{ kind: 'prompt', status: Number(status), isNoisy: noise !== '' },
    facts: {
      ...{ each, line: Number(line), options },
      ...(trap !== undefined && { hasTrap: trap.trim() !== '' }), // a probe does not look
    },
    ...(pid !== undefined && { pid: Number(pid) }),
  }
}
