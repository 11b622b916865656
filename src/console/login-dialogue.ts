import { type Login, promptAt, type Seen } from './login-prompt.ts'
import {
  type LoginState,
  NO_BASH_THERE,
  noShell,
  notUnderstood,
  type Refusal,
} from './login-refusal.ts'
import { LoginScreen } from './login-screen.ts'
import { NO_BASH } from './take-over.ts'

/** The next action: type something, put our shell in place, or give up. */
export type Answer = { type: string; password?: true } | { takeOver: true } | Refusal

/** An action once the guest has said nothing for `ms`; without `ms`, only a wait for its words. */
export interface Plan {
  ms?: number
  act(): Answer | undefined
}

/** A line that looks like a prompt is one when nothing follows it for so long. */
const SETTLE_MS = 500
/** A line like a shell's prompt while a guest boots is mostly something else. */
const EARLY_MS = 2000
/** A shell that was given an empty line has printed its prompt again by then. */
const AGAIN_MS = 100
/** Getty's prompt after a password is a refusal, if it is not words that a profile goes on behind. */
const REFUSAL_MS = 2000
/** A guest that says nothing may have asked before anybody listened. */
const NUDGE_MS = 5000
/** A terminal that shows what is typed has shown it by then. */
const ECHO_MS = 2000
/** A question that is not understood is one that nobody else answers by then. */
const QUESTION_MS = 25_000

const ENTER = '\r'
/** A character, and the one that takes back a line (VKILL of termios(3)). */
const PROBE = ' \x15'
const ECHO = /^[ \b]*(?:\^U\n?)?$/
/** How often one thing is typed at something that does not take it. */
const MOST_TRIES = 3

const WAIT: Plan = { act: () => undefined }

/**
 * A login as a conversation: what the guest printed goes in, what to type comes out. It is decided by
 * what stands at the cursor when the guest falls silent, and by what the guest does then; words that
 * are printed before that mean nothing.
 */
export class LoginDialogue {
  readonly #login: Login
  readonly #screen = new LoginScreen()
  #state: LoginState = 'waiting'
  readonly #tries = new Map<string, number>()
  #nudgeMs = NUDGE_MS
  /** The lines that asked for user and password, which are asked again after a refusal. */
  readonly #answered = new Set<string>()
  /** The lines before the first of them: getty shows them again after a refusal. */
  #issue: string[] = []
  /** A shell's prompt that was given an empty line. */
  #prompt: string | undefined
  /** The screen before {@link PROBE} was typed, until it is known whether that is shown. */
  #probed: string | undefined
  /** The terminal shows what is typed, so it is no password that is asked for. */
  #echoes = false

  constructor(login: Login) {
    this.#login = login
  }

  get done(): boolean {
    return this.#state === 'done'
  }

  /** Takes what was printed; whether the guest has said something, so that the silence begins anew. */
  push(text: string): boolean {
    const isNews = this.#screen.push(text)
    if (isNews && this.#probed !== undefined) this.#hearEcho(this.#probed)
    else if (isNews) this.#echoes = false // of what is asked now, that is not known
    return isNews
  }

  /** Our shell has announced itself. */
  shellIsThere(): void {
    this.#state = 'done'
  }

  get plan(): Plan {
    if (this.#state === 'done') return WAIT
    if (this.#screen.text.includes(NO_BASH)) return { ms: 0, act: () => NO_BASH_THERE }
    const probed = this.#probed
    if (probed !== undefined) return { ms: ECHO_MS, act: () => this.#afterProbe(probed) }
    if (this.#isRefusal) return { ms: REFUSAL_MS, act: () => ({ refused: this.#refusal() }) }
    const seen = this.#seen
    if (this.#state === 'taking over') return this.#takingOver(seen)
    if (typeof seen === 'object') {
      return { ms: SETTLE_MS, act: () => this.#try(String(seen.prompt), seen.answer) }
    }
    if (seen === 'shell') return { ms: this.#shellMs, act: () => this.#askShell() }
    if (seen === 'key') return { ms: NUDGE_MS, act: () => this.#try(this.#screen.line, '') }
    if (this.#state === 'waiting') return this.#waiting(seen)
    if (this.#state === 'user typed') return this.#userTyped(seen)
    return seen === '' ? WAIT : this.#unknown
  }

  get #seen(): Seen {
    const seen = promptAt(this.#screen, this.#login)
    // An empty line may be a shell's prompt, but only where one is to be expected.
    const isEarly = this.#state !== 'password typed' && this.#screen.isBlank
    return seen === 'shell' && isEarly ? '' : seen
  }

  #waiting(seen: Seen): Plan {
    if (seen === 'user') return { ms: SETTLE_MS, act: () => this.#typeUser() }
    const isAsked = seen !== '' && (seen !== 'other' || /\s$/.test(this.#screen.line))
    if (isAsked) return this.#unknown
    if (seen === 'other') return WAIT // a loader's last words, mostly
    const nudge = () => {
      this.#nudgeMs *= 2
      return { type: ENTER }
    }
    return { ms: this.#nudgeMs, act: nudge }
  }

  #userTyped(seen: Seen): Plan {
    // Again after a user was typed: getty threw away what came before it was ready.
    if (seen === 'user') return { ms: SETTLE_MS, act: () => this.#typeUser() }
    if (seen === 'password') return { ms: SETTLE_MS, act: () => this.#typePassword() }
    if (seen === 'secret' && !this.#echoes) return { ms: SETTLE_MS, act: () => this.#probe() }
    if (seen !== '') return this.#unknown
    // Somebody else's line may have come behind the prompt, which stands where nobody finds it then.
    const mayBeHidden = this.#said.length > 0 && !this.#echoes
    return mayBeHidden ? { ms: NUDGE_MS, act: () => this.#probe() } : WAIT
  }

  #takingOver(seen: Seen): Plan {
    const isFree = seen === 'shell' && this.#count('take over') < MOST_TRIES
    if (isFree) return { ms: NUDGE_MS, act: () => this.#takeOver() }
    return { ms: QUESTION_MS, act: () => noShell(this.#said) }
  }

  get #unknown(): Plan {
    return { ms: QUESTION_MS, act: () => notUnderstood(this.#state, this.#said) }
  }

  #typeUser(): Answer {
    if (this.#state === 'waiting') this.#issue = this.#screen.lines
    this.#answered.add(this.#screen.line.trim())
    this.#state = 'user typed'
    return this.#try('user', this.#login.user)
  }

  #typePassword(): Answer {
    this.#answered.add(this.#screen.line.trim())
    this.#state = 'password typed'
    this.#clear()
    return { type: this.#login.password + ENTER, password: true }
  }

  /** Finds out whether the terminal hides what is typed, as it does where a password is asked for. */
  #probe(): Answer {
    this.#probed = this.#screen.text
    return { type: PROBE }
  }

  #hearEcho(before: string): void {
    const { text } = this.#screen
    if (text.startsWith(before) && ECHO.test(text.slice(before.length))) this.#echoes = true
    else this.#probed = undefined
  }

  #afterProbe(before: string): Answer | undefined {
    this.#probed = undefined
    if (!this.#echoes) return this.#typePassword()
    this.#screen.set(before)
    return undefined
  }

  get #shellMs(): number {
    if (this.#screen.line === this.#prompt) return AGAIN_MS
    return this.#state === 'waiting' ? EARLY_MS : SETTLE_MS
  }

  /** Types an empty line: a shell answers with its prompt again, a percentage does not. */
  #askShell(): Answer {
    const { line } = this.#screen
    const isSure = this.#login.shellPrompt !== undefined || line === this.#prompt
    if (isSure || this.#count('ask shell') >= MOST_TRIES) return this.#takeOver()
    const answer = this.#try('ask shell', '')
    this.#prompt = line
    return answer
  }

  #takeOver(): Answer {
    this.#state = 'taking over'
    this.#tries.set('take over', this.#count('take over') + 1)
    this.#clear()
    return { takeOver: true }
  }

  /** It asks what it asked before: getty and login begin anew. */
  get #isRefusal(): boolean {
    const isPast = this.#state === 'password typed' || this.#state === 'taking over'
    return isPast && !this.#screen.isBlank && this.#answered.has(this.#screen.line.trim())
  }

  #refusal(): string {
    const said = this.#said.filter((line) => !this.#answered.has(line))
    return said.length > 0 ? JSON.stringify(said.join('\n')) : 'it asks for the user again'
  }

  /** The guest's own lines since the last answer. */
  get #said(): string[] {
    const known = new Set([...this.#issue, this.#login.user, '***'])
    return this.#screen.lines.filter((line) => !known.has(line))
  }

  /** Types a line at a prompt, though not for ever. */
  #try(what: string, line: string): Answer {
    const count = this.#count(what) + 1
    const asked = JSON.stringify(this.#screen.line.trim())
    this.#tries.set(what, count)
    this.#clear()
    if (count <= MOST_TRIES) return { type: line + ENTER }
    return { refused: `it asks again and again (${asked})`, hint: 'look at login: it was answered' }
  }

  #count(what: string): number {
    return this.#tries.get(what) ?? 0
  }

  #clear(): void {
    this.#screen.clear()
    this.#prompt = undefined
  }
}
