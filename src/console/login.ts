import { DutError, GuestError } from '../errors.ts'
import { stopSignal } from '../scope.ts'
import { type WaitOptions, waitFor } from '../wait.ts'
import type { Console } from './console.ts'
import { type Answer, LoginDialogue } from './login-dialogue.ts'
import type { Login } from './login-prompt.ts'
import type { Refusal } from './login-refusal.ts'
import { takeOverLine } from './take-over.ts'

/**
 * Logs in at a console and puts the shell that is there then in place of a bash that announces itself
 * by its banner. A password that is refused is not tried again.
 *
 * @throws GuestError when the guest refuses, or asks for something else; waits as long as `signal` allows
 */
export async function logIn(
  console: Console,
  login: Login,
  { signal }: { signal?: AbortSignal } = {},
): Promise<void> {
  const dialogue = new LoginDialogue(login)
  let heard = Promise.withResolvers<void>()
  const unsubscribe = console.subscribe({
    text: (text) => {
      if (dialogue.push(text)) heard.resolve()
    },
    mark: (mark) => {
      if (mark.kind === 'banner') dialogue.shellIsThere()
      heard.resolve()
    },
  })
  const stop = stopSignal(console.life.signal, signal)
  const follow = (answer: Answer | undefined) => {
    if (answer === undefined) return
    if ('refused' in answer) throw refusal(console, login, answer)
    if ('password' in answer) console.redact(login.password)
    console.send('takeOver' in answer ? takeOverLine() : answer.type)
  }
  try {
    while (!dialogue.done) {
      const { ms: timeoutMs, act } = dialogue.plan
      const isSilent = await isSilentFor(heard.promise, { timeoutMs, signal: stop })
      heard = Promise.withResolvers<void>()
      if (isSilent) follow(act())
    }
  } finally {
    unsubscribe()
    console.redact('')
  }
}

async function isSilentFor(heard: Promise<void>, options: WaitOptions): Promise<boolean> {
  const silent = new DutError('silence')
  return waitFor(heard, { ...options, onTimeout: () => silent }).then(
    () => false,
    (error) => {
      if (error === silent) return true
      throw error
    },
  )
}

const TRIED = 'look at user and password in login; it was tried once, so that no account is locked'

function refusal(
  console: Console,
  { user }: Login,
  { refused, hint = TRIED }: Refusal,
): GuestError {
  return new GuestError(`the guest did not let ${JSON.stringify(user)} in: ${refused}`, {
    ...console.where,
    tail: console.tail(),
    hint,
  })
}
