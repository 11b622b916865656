import { isAbsolute } from 'node:path'
import type { Login } from '../../console/login-prompt.ts'
import { UsageError } from '../../errors.ts'
import { checkKeys } from '../../options.ts'
import type { ForeignBoot } from '../../qemu/guest-args.ts'
import { resolveDisks } from './disks.ts'

/** A guest of the user's own. Its console is its first serial port. Paths are the DUT's. */
export interface GuestSpec {
  /** An image that it boots from, or with a `kernel`, its disk. It is never written to. */
  disk?: string
  /** `'raw'`, `'qcow2'` or another one of QEMU's; looked up in the image where none is given. */
  format?: string
  kernel?: string
  initrd?: string
  /** The kernel's command line; `console=ttyS0` belongs into it. */
  append?: string
  /** Without it, the VM has its `console` only. */
  login?: Login
}

/** A guest that was checked. */
export interface ForeignGuest extends Omit<ForeignBoot, 'agent'> {
  login?: Login
}

const KEYS = ['disk', 'format', 'kernel', 'initrd', 'append', 'login']
const PATTERNS = ['loginPrompt', 'passwordPrompt', 'shellPrompt'] as const
const LOGIN_KEYS = ['user', 'password', ...PATTERNS, 'answers']

/** @throws UsageError naming the option and what to write instead */
export function resolveGuest(
  name: string,
  guest: 'default' | GuestSpec,
  given?: Login,
): 'default' | ForeignGuest {
  if (guest === 'default') {
    if (given === undefined) return guest
    throw new UsageError(`${name}: the default guest has no login`, { hint: 'leave login out' })
  }
  if (typeof guest !== 'object' || guest === null) {
    throw new UsageError(`${name}: guest: ${JSON.stringify(guest)} is no guest`, {
      hint: `'default', { disk, login } or { kernel, initrd, append }`,
    })
  }
  checkKeys(`${name}: guest`, guest, KEYS)
  const { disk, format, kernel, initrd, append } = guest
  for (const [key, path] of Object.entries({ disk, kernel, initrd })) {
    if (path === undefined || (typeof path === 'string' && isAbsolute(path))) continue
    throw new UsageError(`${name}: guest.${key}: ${JSON.stringify(path)} is not an absolute path`)
  }
  if (disk === undefined && kernel === undefined) {
    throw new UsageError(`${name}: guest has neither a disk nor a kernel`, {
      hint: `guest: { disk: '/images/debian.qcow2', login: { user: 'root', password: '…' } }`,
    })
  }
  const needs = { initrd: 'kernel', append: 'kernel', format: 'disk' } as const
  for (const [key, needed] of Object.entries(needs) as [keyof typeof needs, 'kernel' | 'disk'][]) {
    if (guest[key] === undefined || guest[needed] !== undefined) continue
    throw new UsageError(`${name}: guest.${key} is of no use without guest.${needed}`)
  }
  if (append !== undefined && typeof append !== 'string') {
    throw new UsageError(`${name}: guest.append is not a string`)
  }
  const login = oneLogin(name, guest.login, given)
  const [root] = disk === undefined ? [] : resolveDisks(`${name}: guest`, [{ file: disk, format }])
  return {
    ...(kernel !== undefined && { kernel }),
    ...(initrd !== undefined && { initrd }),
    ...(append !== undefined && { append }),
    ...(root && { disk: root }),
    ...(login && { login }),
  }
}

function oneLogin(name: string, inner?: Login, outer?: Login): Login | undefined {
  const [a, b] = [inner, outer].map((login) => login && resolveLogin(name, login))
  if (a && b && (a.password !== b.password || shown(a) !== shown(b))) {
    throw new UsageError(`${name}: login and guest.login differ`, { hint: 'leave one of them out' })
  }
  return a ?? b
}

const shown = ({ user, answers = [], ...login }: Login) =>
  [user, ...PATTERNS.map((key) => login[key]), ...answers.flatMap(Object.values)].join('\n')

function resolveLogin(name: string, login: Login): Login {
  checkKeys(`${name}: login`, login, LOGIN_KEYS)
  const { user, password } = login
  for (const [key, value] of Object.entries({ user, password })) {
    if (typeof value === 'string' && !/[\x00-\x1f\x7f]/.test(value)) continue
    // Never the value: it may be a password.
    throw new UsageError(`${name}: login.${key} is not a string of printable characters`, {
      hint: key === 'password' ? `'' for a user who has none` : `login: { user: 'root', password }`,
    })
  }
  if (user === '') throw new UsageError(`${name}: login.user is empty`)
  for (const key of PATTERNS) {
    const pattern = login[key]
    if (pattern === undefined || pattern instanceof RegExp) continue
    if (typeof pattern === 'string' && pattern !== '') continue
    throw new UsageError(`${name}: login.${key} is neither a text nor a regular expression`)
  }
  checkAnswers(name, login.answers)
  // Whoever prints a spec does not print that.
  return Object.defineProperty({ ...login }, 'password', { value: password, enumerable: false })
}

function checkAnswers(name: string, answers: unknown): void {
  const isAnswer = ({ prompt, answer }: Record<string, unknown>) =>
    (prompt instanceof RegExp || (typeof prompt === 'string' && prompt !== '')) &&
    typeof answer === 'string' &&
    !/[\x00-\x1f\x7f]/.test(answer)
  if (answers === undefined) return
  if (Array.isArray(answers) && answers.every((one) => one && isAnswer(one))) return
  throw new UsageError(`${name}: login.answers is no list of prompts with their answers`, {
    hint: `login: { answers: [{ prompt: 'Proceed? [y/N]', answer: 'y' }] }`,
  })
}
