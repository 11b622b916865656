import type { LoginScreen } from './login-screen.ts'
import type { Pattern } from './pattern.ts'

/** How to get past a guest's login. Prompts are looked for where the cursor stands, and nowhere else. */
export interface Login {
  user: string
  /** `''` for a user who has none. */
  password: string
  /** The prompt for the user; `login:` where none is given. */
  loginPrompt?: Pattern
  /** `Password:` where none is given, or in any language, a colon behind which nothing is echoed. */
  passwordPrompt?: Pattern
  /** The prompt of the user's shell; a line that ends in `$`, `#`, `%` or `>` where none is given. */
  shellPrompt?: Pattern
  /** Lines to type at what else is asked, by a boot loader or by a profile. */
  answers?: readonly LoginAnswer[]
}

export interface LoginAnswer {
  prompt: Pattern
  /** Typed with Enter behind it; `''` for Enter alone. */
  answer: string
}

/**
 * The kind of text at the cursor. A `secret` may be the password, in any language. The empty string is
 * nothing that waits for anybody.
 */
export type Seen =
  | LoginAnswer
  | 'user'
  | 'password'
  | 'secret'
  | 'shell'
  | 'key'
  | 'question'
  | 'other'
  | ''

const USER = /\blogin:\s*$/i
/** "Last login: Thu…", of which the rest has not come yet. */
const LAST = /\blast\b/i
const PASSWORD = /\bpassword(?: for [^:]+)?\s*:\s*$/i
const COLON = /[:：]\s*$/
/** Secrets other than the user's password, in shadow's, PAM's and systemd's words. */
const OTHER_SECRET =
  /\b(?:current|new|old|retype|again|one-time|verification|token|otp|pin|code|challenge|response|passphrase|maintenance)\b/i
const SHELL = /[$#%>❯➜λ]\s?$/
const QUESTION = /[:：?？\])>»›=]\s*$/
/** A question, which no shell's prompt has in it. */
const ASKS = /[?？]\s*>?\s*$|[([]y(?:es)?\/no?[)\]]/i
const KEY = /\b(?:press|hit|strike)\b.*\b(?:any key|enter|return)\b.*[^:?\s]\s*$/i
/** "Loading initial ramdisk ...", "Starting sendmail: ", "[ 40%" */
const UNDER_WAY = /(?:\.\.|…)\s*$|^\W*[A-Z][a-z]+ing\b|(?:^|[\s.([])\d+ ?%\s*$/

export function promptAt(
  screen: LoginScreen,
  { loginPrompt, passwordPrompt, shellPrompt, answers = [] }: Login,
): Seen {
  const { line } = screen
  const answer = answers.find(({ prompt }) => screen.shows(prompt))
  if (answer) return answer
  if (loginPrompt ? screen.shows(loginPrompt) : USER.test(line) && !LAST.test(line)) return 'user'
  if (passwordPrompt && screen.shows(passwordPrompt)) return 'password'
  if (shellPrompt && screen.shows(shellPrompt)) return 'shell'
  if (line.trim() === '') return ''
  if (!passwordPrompt && !OTHER_SECRET.test(line) && COLON.test(line)) {
    if (PASSWORD.test(line)) return 'password'
    if (!UNDER_WAY.test(line)) return 'secret'
  }
  if (KEY.test(line)) return 'key'
  if (UNDER_WAY.test(line)) return ''
  if (!shellPrompt && SHELL.test(line) && !ASKS.test(line)) return 'shell'
  return QUESTION.test(line) || ASKS.test(line) ? 'question' : 'other'
}
