import { describe, expect, test } from 'vitest'
import { PromptAccount } from '../../src/console/account.ts'

type Event = 'typed' | 'text' | 'prompt' | 'probed' | 'answer' | 'restart'

function after(...events: Event[]): PromptAccount {
  const account = new PromptAccount()
  for (const event of events) {
    if (event === 'prompt') account.prompt({ isAnswer: false })
    else if (event === 'answer') account.prompt({ isAnswer: true })
    else account[event]()
  }
  return account
}

describe('whose turn the console is', () => {
  test.each<[string, Event[], 'running' | 'at a prompt' | 'in doubt']>([
    ['nothing was printed', [], 'running'],
    ['the first prompt', ['prompt'], 'at a prompt'],
    ['a command was typed', ['prompt', 'typed'], 'running'],
    ['it prints', ['prompt', 'typed', 'text'], 'running'],
    ['it has ended', ['prompt', 'typed', 'prompt'], 'at a prompt'],
    ['a program was typed into', ['prompt', 'typed', 'typed'], 'running'],
    [
      'it has ended, and who read the line is not known',
      ['prompt', 'typed', 'typed', 'prompt'],
      'in doubt',
    ],
    [
      'the shell runs the line, which prints',
      ['prompt', 'typed', 'typed', 'prompt', 'text'],
      'running',
    ],
    ['and has ended it', ['prompt', 'typed', 'typed', 'prompt', 'text', 'prompt'], 'at a prompt'],
    [
      'one of two lines was read by the shell',
      ['prompt', 'typed', 'typed', 'typed', 'prompt', 'text', 'prompt'],
      'in doubt',
    ],
    [
      'a probe was typed, and a prompt came that is not its answer',
      ['prompt', 'typed', 'typed', 'prompt', 'probed', 'prompt'],
      'in doubt',
    ],
    [
      'the probe was answered',
      ['prompt', 'typed', 'typed', 'prompt', 'probed', 'text', 'answer'],
      'at a prompt',
    ],
    ['another shell began', ['prompt', 'typed', 'typed', 'restart'], 'running'],
    ['another shell’s prompt', ['prompt', 'typed', 'typed', 'restart', 'prompt'], 'at a prompt'],
  ])('after: %s', (_, events, state) => {
    const account = after(...events)
    expect(account.atPrompt).toBe(state === 'at a prompt')
    expect(account.inDoubt).toBe(state === 'in doubt')
  })
})

test('a probe is under way from its typing to its answer', () => {
  expect(after('prompt').probing).toBe(false)
  expect(after('prompt', 'probed').probing).toBe(true)
  expect(after('prompt', 'probed', 'prompt').probing).toBe(true)
  expect(after('prompt', 'probed', 'answer').probing).toBe(false)
  expect(after('prompt', 'probed', 'restart').probing).toBe(false)
})

test('text while a probe is under way settles nothing', () => {
  const account = after('prompt', 'typed', 'typed', 'prompt', 'probed', 'text')
  expect(account.inDoubt).toBe(true)
})
