import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { isSimple } from '../../src/console/simple-command.ts'
import {
  endsInBackslash,
  looksUnfinished,
  mayBeUnfinished,
  verdictOn,
} from '../../src/console/unfinished.ts'

/** Asks bash's parser whether more is to come. */
function isUnfinished(command: string, env: NodeJS.ProcessEnv = {}): boolean {
  const script = `${verdictOn(command)}; echo $?`
  const status = execFileSync('bash', ['-c', script], { env: { ...process.env, ...env } })
  return status.toString() === '1\n'
}

describe('a command is unfinished', () => {
  test.each([
    'echo "a',
    "echo 'a",
    'for',
    'for i in a; do',
    'if true',
    'echo $(',
    'case x in',
    '{ echo',
    'f() {',
    'cat <<EOF',
  ])('where its rest is missing: %s', (command) => {
    expect(isUnfinished(command)).toBe(command !== 'for')
    expect(isSimple(command)).toBe(false)
  })

  test.each([
    'echo )',
    'echo ;;',
    'fi',
    'false',
    'ls /nowhere',
    'echo "a" \'b\'',
    'cat <<EOF\nx\nEOF',
    '((1<<2))',
  ])('and not where it is wrong or whole: %s', (command) => {
    expect(isUnfinished(command)).toBe(false)
  })

  test('whatever language the shell speaks', () => {
    expect(isUnfinished('echo "a', { LC_ALL: 'de_DE.UTF-8', LANGUAGE: 'de' })).toBe(true)
  })
})

test.each([
  ['cat <<EOF', true],
  ['cat <<<word', false],
  ['echo 1', false],
  ['cat <<EOF\nEOF', false],
])('%j is looked at before it is run: %j', (command, wanted) => {
  expect(looksUnfinished(command)).toBe(wanted)
})

test.each([
  ['echo a \\', true],
  ['echo a \\\\', false],
  ['echo a', false],
  ['# a comment \\', false],
])('%j joins a line that is missing: %j', (command, wanted) => {
  expect(endsInBackslash(command)).toBe(wanted)
})

test.each([
  ['echo "a', 2, true],
  ['echo "a', 0, false],
  ['false', 1, false],
  ['echo $(', 1, true],
  ['echo $(', undefined, false],
])('%j with the status %j may have been unfinished: %j', (command, status, wanted) => {
  expect(mayBeUnfinished(command, status)).toBe(wanted)
})
