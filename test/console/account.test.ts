import { describe, expect, test } from 'vitest'
import { PromptAccount } from '../../src/console/account.ts'

type Event = 'typed' | 'plain' | 'text' | 'noise' | 'prompt' | 'probed' | 'answer' | 'restart'

function accountOf(...events: Event[]): PromptAccount {
  const account = new PromptAccount()
  for (const event of events) {
    if (event === 'prompt') account.prompt({ isAnswer: false })
    else if (event === 'answer') account.prompt({ isAnswer: true })
    else if (event === 'plain') account.typedPlain()
    else if (event === 'text') account.text({ isNoisy: false })
    else if (event === 'noise') account.text({ isNoisy: true })
    else account[event]()
  }
  return account
}

describe('whose turn the console is', () => {
  test.each<[string, Event[], 'running' | 'at a prompt' | 'in doubt']>([
    ['nothing was printed', [], 'running'],
    ['the first mark', ['prompt'], 'at a prompt'],
    ['a command was typed', ['prompt', 'typed'], 'running'],
    ['it prints', ['prompt', 'typed', 'text'], 'running'],
    ['it has ended', ['prompt', 'typed', 'prompt'], 'at a prompt'],
    ['a program was typed into', ['prompt', 'typed', 'plain'], 'running'],
    [
      'it has ended, and who read the line is not known',
      ['prompt', 'typed', 'plain', 'prompt'],
      'in doubt',
    ],
    ['a line was typed by hand', ['prompt', 'plain'], 'in doubt'],
    [
      'the shell runs the line, which prints',
      ['prompt', 'typed', 'plain', 'prompt', 'text'],
      'running',
    ],
    [
      'a shell that prints at its prompt has printed',
      ['prompt', 'typed', 'plain', 'prompt', 'noise'],
      'in doubt',
    ],
    [
      'a probe was typed, and a mark came that is not its answer',
      ['prompt', 'typed', 'plain', 'probed', 'prompt'],
      'in doubt',
    ],
    [
      'the probe was answered',
      ['prompt', 'typed', 'plain', 'prompt', 'probed', 'text', 'answer'],
      'at a prompt',
    ],
    ['another shell began', ['prompt', 'typed', 'plain', 'restart'], 'running'],
    ['another shell’s mark', ['prompt', 'typed', 'plain', 'restart', 'prompt'], 'at a prompt'],
  ])('after: %s', (_, events, state) => {
    const account = accountOf(...events)
    expect(account.atPrompt).toBe(state === 'at a prompt')
    expect(account.inDoubt).toBe(state === 'in doubt')
    expect(account.running).toBe(state === 'running')
  })

  test('a mark is awaited of a command, and of no line that the shell runs besides', () => {
    expect(accountOf('prompt', 'typed').awaited).toBe(true)
    expect(accountOf('prompt', 'typed', 'plain').awaited).toBe(true)
    expect(accountOf('prompt', 'typed', 'plain', 'prompt', 'text').awaited).toBe(false)
  })
})

test('a probe is under way from its typing to its answer', () => {
  expect(accountOf('prompt').probing).toBe(false)
  expect(accountOf('prompt', 'probed').probing).toBe(true)
  expect(accountOf('prompt', 'probed', 'prompt').probing).toBe(true)
  expect(accountOf('prompt', 'probed', 'answer').probing).toBe(false)
  expect(accountOf('prompt', 'probed', 'restart').probing).toBe(false)
})

test('text while a probe is under way settles nothing', () => {
  const account = accountOf('prompt', 'typed', 'plain', 'prompt', 'probed', 'text')
  expect(account.inDoubt).toBe(true)
})
