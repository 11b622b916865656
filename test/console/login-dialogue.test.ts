import { describe, expect, test } from 'vitest'
import { LoginDialogue } from '../../src/console/login-dialogue.ts'
import type { Login } from '../../src/console/login-prompt.ts'

const ENTER = '\r'

/** A login up to a point, to which the guest has said `steps`, each answered when it fell silent. */
function at(steps: readonly string[], login: Partial<Login> = {}) {
  const dialogue = new LoginDialogue({ user: 'root', password: 'geheim', ...login })
  const answers = steps.map((text) => {
    dialogue.push(text)
    const { ms, act } = dialogue.plan
    return ms === undefined ? undefined : act()
  })
  return { dialogue, answers }
}
const IN = ['dut0 login: ', 'root\nPassword: ']

test('user and password are typed where they are asked for, and the shell is asked for its prompt', () => {
  const { answers } = at([...IN, '\nWelcome\nroot@dut0:~# ', '\nroot@dut0:~# '])
  expect(answers).toEqual([
    { type: `root${ENTER}` },
    { type: `geheim${ENTER}`, password: true },
    { type: ENTER },
    { takeOver: true },
  ])
})

test('nothing is done before the guest falls silent, whatever the kernel says meanwhile', () => {
  const { dialogue } = at([])
  expect(dialogue.push('dut0 login: ')).toBe(true)
  expect(dialogue.plan.ms).toBeGreaterThan(100)
  expect(dialogue.push('[   12.345678] random: crng init done\n')).toBe(false)
  expect(dialogue.push('[  OK  ] Finished foo.\n         Starting bar...\n')).toBe(false)
  expect(dialogue.plan.act()).toEqual({ type: `root${ENTER}` })
})

describe('a question that is not understood', () => {
  test.for([
    [
      'before a user was typed',
      [],
      'Give root password for maintenance\n(or Control-D): ',
      'login',
    ],
    ['a password that nobody expects', [], 'Enter password for disk vda3: ', 'login'],
    ['a menu', [], '1) Debian\n2) Rescue\nYour choice [1]', 'login'],
    ['after the user', IN.slice(0, 1), 'root\nOne-time password (OATH): ', 'password'],
    ['after the password', IN, '\nYour password has expired.\nNew password: ', 'shell'],
    ['a question that ends like a shell', IN, '\nProceed (y/n)? > ', 'shell'],
    ['a prompt of no known kind', IN, '\nready when you are ', 'shell'],
    ['another secret', IN.slice(0, 1), 'root\nVerification code: ', 'password'],
    ['another colon', IN, '\nTerminal type: ', 'shell'],
  ] as const)('is told after 25 s, with the option for it: %s', ([, steps, text, option]) => {
    const { dialogue } = at(steps)
    dialogue.push(text)
    expect(dialogue.plan.ms).toBe(25_000)
    const line = text.split('\n').at(-1)?.trim()
    expect(dialogue.plan.act()).toEqual({
      refused: expect.stringMatching(/^it asks for something else \("/),
      hint: expect.stringContaining(`{ ${option}Prompt: ${JSON.stringify(line)} }`),
    })
  })
})

describe('no password is typed', () => {
  test('where the terminal shows what is typed', () => {
    const { dialogue, answers } = at(['dut0 login: ', 'root\nDomain: '])
    expect(answers.at(-1)).toEqual({ type: ' \x15' })
    dialogue.push(' ')
    dialogue.push('\b \b')
    expect(dialogue.plan.act()).toBeUndefined()
    expect(dialogue.plan.act()).toMatchObject({ refused: expect.stringContaining('"Domain:"') })
  })

  test('where the guest goes on by itself', () => {
    const { dialogue } = at(['dut0 login: ', 'root\nName: ', 'Mail: none\n'])
    dialogue.push('root@dut0:~# ')
    expect(dialogue.plan.act()).toEqual({ type: ENTER })
  })

  test('twice', () => {
    const { dialogue } = at([...IN, '\n'])
    dialogue.push('Password: ')
    expect(dialogue.plan.act()).toEqual({ refused: 'it asks for the user again' })
  })

  test('an empty one, while nobody asks', () => {
    const { dialogue } = at(['dut0 login: '], { password: '' })
    dialogue.push('root\n')
    expect(dialogue.plan.ms).toBeUndefined() // login may take its time
    dialogue.push('Welcome\n')
    expect(dialogue.plan.act()).toEqual({ type: ' \x15' })
    dialogue.push(' \b \b')
    dialogue.plan.act()
    expect(dialogue.plan.ms).toBeUndefined()
    dialogue.push('Passwort: ')
    expect(dialogue.plan.act()).toEqual({ type: ' \x15' })
    expect(dialogue.plan.act()).toEqual({ type: ENTER, password: true })
  })
})

describe('our line is typed at a shell alone', () => {
  test.for([
    ['nothing', '\n'],
    ['a percentage', '\nUpdating 40%'],
    ['a percentage in brackets', '\n[ 40%'],
    ['dots', '\nplease wait...'],
    ['a service', '\nStarting sendmail: '],
  ])('not at %s', ([, text]) => {
    const { dialogue } = at([...IN, text as string])
    expect(dialogue.plan.ms).toBeUndefined()
  })

  test('not twice at what takes it for something else, and that is quoted', () => {
    const { answers } = at([...IN, '\ngrub> ', '\ngrub> ', '\ngrub> ', '\ngrub> ', '\ngrub> '])
    expect(answers.filter((answer) => answer && 'takeOver' in answer)).toHaveLength(3)
    expect(answers.at(-1)).toMatchObject({ refused: 'what is there now is no shell ("grub>")' })
  })

  test('also at a prompt that was given, even an empty one', () => {
    expect(at([...IN, '\nready '], { shellPrompt: 'ready' }).answers.at(-1)).toEqual({
      takeOver: true,
    })
    expect(at([...IN, '\n'], { shellPrompt: /^$/ }).answers.at(-1)).toEqual({ takeOver: true })
    expect(at(['booting\n'], { shellPrompt: /^$/ }).answers).toEqual([{ type: ENTER }])
  })
})

test('a guest that says nothing is given an empty line now and then, more and more seldom', () => {
  const { dialogue } = at([])
  const pauses = Array.from({ length: 4 }, () => {
    const { ms, act } = dialogue.plan
    expect(act()).toEqual({ type: ENTER })
    return ms
  })
  expect(pauses).toEqual([5000, 10_000, 20_000, 40_000])
})

test('a prompt that is given counts where the cursor is, and nowhere else', () => {
  const login = { loginPrompt: /^Konto/m, passwordPrompt: 'Losung: ', shellPrompt: /ready\s*$/ }
  const { answers } = at(
    ['Konto: none\nready\n', 'Konto: ', 'root\nPassword: none\nLosung: ', '\nready '],
    login,
  )
  expect(answers).toEqual([
    { type: ENTER },
    { type: `root${ENTER}` },
    { type: `geheim${ENTER}`, password: true },
    { takeOver: true },
  ])
})

test('an answer that is not taken is not given for ever', () => {
  const answers = [{ prompt: 'Proceed?', answer: 'y' }]
  const said = at([...IN, ...Array(4).fill('\nProceed? ')], { answers }).answers
  expect(said.slice(2)).toEqual([
    ...Array(3).fill({ type: `y${ENTER}` }),
    { refused: 'it asks again and again ("Proceed?")', hint: expect.any(String) },
  ])
})
