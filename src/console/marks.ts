/**
 * What a guest's shell says besides its output: marks that nobody could take for output, each of them
 * between two record separators (0x1e).
 *
 *     prompt  RS secret count ":" status RS    the shell is back; `status` is `$?`
 *     more    RS secret "M" RS                 an unfinished line: a quote or a loop is still open
 *     banner  RS "dut-shell " pid RS NL        a new shell of the default guest, not set up yet
 *
 * `secret` differs for each console, and `count` goes up with each prompt, so that an old prompt which
 * is printed again is output.
 */
export type Mark = Prompt | { kind: 'more' } | { kind: 'banner' }

export interface Prompt {
  kind: 'prompt'
  /** `$?` of the line that ended. */
  status: number
  /** This prompt answers the line of {@link MarkReader.probeLine}, not a command. */
  isAnswer: boolean
}

export const RS = '\x1e'
const BANNER = 'dut-shell '

/** The line that puts a bash under the protocol. Nothing in it can be mistaken for a mark. */
export function setupLine(secret: string): string {
  const name = `${secret.slice(0, 2)}''${secret.slice(2)}`
  const mark = (body: string) => `$'\\036'${name}${body}$'\\036'`
  return `unset PROMPT_COMMAND PS0; __dut=0; PS2=${mark('M')} PS1=${mark(`'$((++__dut)):$?'`)}\n`
}

/** A secret for one console: short, because a virtio console sends 16 bytes at a time. */
export function makeSecret(): string {
  return crypto.randomUUID().slice(0, 3)
}

/** Recognises the marks of one console, in the order in which they come. */
export class MarkReader {
  secret = makeSecret()
  #count = 0
  #probe = 0

  /** The mark that stands between two record separators, or undefined when it is output. */
  read(body: string): Mark | undefined {
    if (/^dut-shell \d+$/.test(body)) {
      this.#count = 0
      return { kind: 'banner' }
    }
    if (!body.startsWith(this.secret)) return undefined
    const rest = body.slice(this.secret.length)
    if (rest === 'M') return { kind: 'more' }
    const [, count, status] = /^(\d+):(\d+)$/.exec(rest)?.map(Number) ?? []
    if (count === undefined || status === undefined) return undefined
    if (count <= this.#count) return undefined
    this.#count = count
    return { kind: 'prompt', status, isAnswer: count === this.#probe }
  }

  /** Whether `body`, whose end has not come yet, could become a mark. */
  couldBecome(body: string): boolean {
    return [this.secret, BANNER].some((start) =>
      body.length < start.length
        ? start.startsWith(body)
        : body.startsWith(start) && body.length < start.length + 20,
    )
  }

  /** How many prompts came; of a shell that went back to an earlier state, other ones come again. */
  get count(): number {
    return this.#count
  }

  set count(count: number) {
    this.#count = count
    this.#probe = 0
  }

  /** A line whose prompt cannot be that of any other: it sets the count of prompts forward. */
  probeLine(): string {
    this.#probe = Math.max(this.#count, this.#probe) + 100 // the one before may not be answered yet
    return `__dut=${this.#probe - 1}\n`
  }
}
