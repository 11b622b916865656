import { describe, expect, test } from 'vitest'
import { makeSteps } from '../../src/console/steps.ts'
import { UsageError } from '../../src/errors.ts'

describe('the steps of a call', () => {
  test('are one for each command, with what it expects and its time', () => {
    expect(makeSteps(['a', 'b'], ['x', /y/], ['5s', 250])).toEqual([
      { command: 'a', expect: 'x', timeoutMs: 5000 },
      { command: 'b', expect: /y/, timeoutMs: 250 },
    ])
  })

  test('expect nothing and have 30 s where nothing is given', () => {
    const step = { expect: '', timeoutMs: 30_000 }
    expect(makeSteps('a')).toEqual([{ command: 'a', ...step }])
    expect(makeSteps(['a', 'b'])).toEqual([
      { command: 'a', ...step },
      { command: 'b', ...step },
    ])
  })

  test('may be given as one of each', () => {
    expect(makeSteps('a', /x/, '1s')).toEqual([{ command: 'a', expect: /x/, timeoutMs: 1000 }])
    expect(makeSteps(['a'], 'x', '1s')).toEqual([{ command: 'a', expect: 'x', timeoutMs: 1000 }])
  })
})

test.each<[string, unknown[], string | RegExp]>([
  ['no command', [[]], 'the list of commands is empty'],
  ['no list', [undefined], 'the list of commands is empty'],
  ['fewer expects', [['a', 'b'], ['x']], '2 commands but 1 expects'],
  ['one expect for several', [['a', 'b'], 'x'], '2 commands but 1 expects'],
  ['more timeouts', ['a', '', ['1s', '2s']], '1 commands but 2 timeouts'],
  [
    'seconds as in DTS',
    [
      ['a', 'b'],
      ['', ''],
      ['5s', 15],
    ],
    "timeouts[1]: 15 ms? DTS counted seconds: write '15s'",
  ],
  ['a command that is no string', [['a', 5]], 'commands[1] is not a string that can be typed'],
  ['a NUL', ['a\0'], 'commands[0] is not a string that can be typed'],
  [
    'an expect of another kind',
    ['a', [null]],
    'expects[0] is neither a string nor a regular expression',
  ],
])('%s is refused', (_, [commands, expects, timeouts], message) => {
  const make = () => makeSteps(commands as string, expects as string, timeouts as string)
  expect(make).toThrow(UsageError)
  expect(make).toThrow(message)
})
