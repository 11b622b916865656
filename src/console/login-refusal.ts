/** How far a login is. */
export type LoginState = 'waiting' | 'user typed' | 'password typed' | 'taking over' | 'done'

/** Why the guest cannot be entered, and what to do about it. */
export interface Refusal {
  refused: string
  hint?: string
}

export const NO_BASH_THERE: Refusal = {
  refused: 'it has no bash, which its commands are run by',
  hint: 'install bash in its image',
}

/** The options that say what a question is, by how far the login is. */
const OPTIONS: { [state in LoginState]?: [kind: string, option: string] } = {
  waiting: ['asks for the user', 'loginPrompt'],
  'user typed': ['asks for the password', 'passwordPrompt'],
  'password typed': ["is the shell's prompt", 'shellPrompt'],
}

/** @param said the guest's last lines; the cursor stands behind the last one */
export function notUnderstood(state: LoginState, said: readonly string[]): Refusal {
  const line = JSON.stringify(said.at(-1) ?? '')
  const [kind, option] = OPTIONS[state] ?? []
  const other = option === undefined ? '' : `if it ${kind}, login: { ${option}: ${line} }; else `
  return {
    refused: `it asks for something else (${JSON.stringify(said.slice(-2).join('\n'))})`,
    hint: `${other}login: { answers: [{ prompt: ${line}, answer: '…' }] }`,
  }
}

/** @param said what the guest printed after the line that starts our shell */
export function noShell(said: readonly string[]): Refusal {
  const last = said.at(-1)
  return {
    refused: `what is there now is no shell${last === undefined ? '' : ` (${JSON.stringify(last)})`}`,
    hint: "login: { shellPrompt } says what the shell's prompt is, login: { answers } what comes before",
  }
}
