import { Matcher, type Pattern } from './pattern.ts'
import { NO_BASH } from './take-over.ts'

/** How to get past a guest's login. */
export interface Login {
  user: string
  /** `''` for a user who has none. */
  password: string
  /** A line's end that asks for the user; `login:` where none is given. */
  loginPrompt?: Pattern
  /** `Password:` where none is given. */
  passwordPrompt?: Pattern
  /** What the user's shell prints when it waits; a line that ends in `$`, `#`, `%` or `>` by default. */
  shellPrompt?: Pattern
}

/** What to do next: type something, put our shell in place, or give up. */
export type Answer = { type: string; password?: true } | { takeOver: true } | { refused: string }

// The kernel may print behind a prompt before anybody answers; "Last login: Thu…" is no prompt.
const BEHIND = '[ \\t]*(?=$|\\n|\\[ *\\d+\\.\\d+\\])'
const LOGIN = new RegExp(`(?<!last[ \\t]+)\\blogin:${BEHIND}`, 'i')
const PASSWORD = new RegExp(`\\bpassword(?: for [^\\n:]+)?:${BEHIND}`, 'i')
const SHELL = /(?:^|\n)[^\n]*[$#%>] ?$/
const REFUSED =
  /login incorrect|incorrect password|permission denied|authentication failure|login failed|access denied|account [^\n]*locked|not allowed/i
/** shadow's, PAM's and systemd's words for what no program can answer. */
const OTHER =
  /(?:current|new|old|retype)[^\n]* password:|password[^\n]* (?:has )?expired|(?:must|required to|should) change your password|verification code:|for maintenance/i

/** A line that looks like a prompt is one when nothing follows it for so long. */
const SETTLE_MS = 700
/** A guest that says nothing may have asked before anybody listened; one that was answered may be slow. */
const SILENCE_MS = {
  waiting: 5000,
  'user typed': 30_000,
  'password typed': 15_000,
  'taking over': 10_000,
  done: 0,
}
const ENTER = '\r'
/** How often our line is typed at a shell that does not take it. */
const MOST_TRIES = 3

type State = keyof typeof SILENCE_MS

/** A login as a conversation: what the guest printed goes in, what to type comes out. */
export class LoginDialogue {
  readonly #login: Login
  #state: State = 'waiting'
  /** What was printed since the last answer. */
  #text = ''
  #tries = 0
  #passwordTyped = false

  constructor(login: Login) {
    this.#login = login
  }

  /** Milliseconds of silence after which {@link silence} is asked. */
  get patienceMs(): number {
    return this.looksReady ? SETTLE_MS : SILENCE_MS[this.#state]
  }

  get done(): boolean {
    return this.#state === 'done'
  }

  /** The last line may be a shell's prompt. */
  get looksReady(): boolean {
    if (this.#state === 'done' || this.#state === 'taking over') return false
    return matches(this.#login.shellPrompt ?? SHELL, this.#text)
  }

  push(text: string): void {
    this.#text = (this.#text + text).slice(-8192)
  }

  /** Our shell has announced itself. */
  shellIsThere(): void {
    this.#state = 'done'
  }

  /** What to do about what was printed so far. */
  answer(): Answer | undefined {
    const { user, password, loginPrompt = LOGIN, passwordPrompt = PASSWORD } = this.#login
    const text = this.#text
    if (this.#state === 'done') return undefined
    if (text.includes(NO_BASH)) return { refused: 'it has no bash, which its commands are run by' }
    const other = OTHER.exec(text)
    if (other) return { refused: `it asks for something else (${JSON.stringify(other[0])})` }
    const asksUser = matches(loginPrompt, text)
    const refused = REFUSED.exec(text)
    if (refused && (this.#passwordTyped || this.#state === 'user typed')) {
      return { refused: JSON.stringify(refused[0]) }
    }
    if (this.#passwordTyped) {
      return asksUser ? { refused: 'it asks for the user again' } : undefined
    }
    if (this.#state === 'user typed' && matches(passwordPrompt, text)) {
      this.#passwordTyped = true
      this.#go('password typed')
      return { type: password + ENTER, password: true }
    }
    // Again after a user was typed: getty threw away what came before it was ready.
    if (!asksUser) return undefined
    if (this.#state === 'user typed' && ++this.#tries > MOST_TRIES) {
      return { refused: 'it asks for the user again and again' }
    }
    this.#go('user typed')
    return { type: user + ENTER }
  }

  /** What to do when nothing more comes. */
  silence(): Answer | undefined {
    if (this.#state === 'done') return undefined
    if (this.looksReady || this.#state === 'password typed') {
      this.#go('taking over')
      return { takeOver: true }
    }
    if (this.#state === 'taking over') {
      if (++this.#tries > MOST_TRIES) {
        if (this.#passwordTyped) return { refused: 'what is there now is no shell' }
        this.#tries = 0
        this.#go('waiting')
        return { type: ENTER }
      }
      return { takeOver: true }
    }
    // It may have asked before anybody listened: it asks again.
    this.#text = ''
    return { type: ENTER }
  }

  #go(state: State): void {
    this.#state = state
    this.#text = ''
  }
}

function matches(pattern: Pattern, text: string): boolean {
  return new Matcher(pattern).push(text) !== undefined
}
