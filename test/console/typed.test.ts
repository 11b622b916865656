import { execFileSync, spawnSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { commandLines, type Manner, probeLine } from '../../src/console/typed.ts'

const QUIET: Manner = {
  ...{ status: 0, each: '', isCareful: false, isTraced: false, isQuick: false, isStrict: false },
  naming: 'plain',
}
const MANNERS: Manner[] = [
  QUIET,
  { ...QUIET, isCareful: true },
  { ...QUIET, isCareful: true, isTraced: true, naming: 'command' },
  { ...QUIET, isCareful: true, naming: 'path' },
]

/** The texts to type, by lines with the ids n0, n1, … */
function textsOf(command: string, manner: Partial<Manner> = {}): string[] {
  let count = 0
  return commandLines(command, { ...QUIET, ...manner }, () => `n${count++}`).map(({ text }) => text)
}

/** What a bash prints that reads the lines; marks go to a file that plays the terminal. */
function run(lines: readonly string[], { before = '' } = {}): string {
  const script = [before, ...lines].join('\n').replaceAll('>&0', '>>/dev/null')
  return execFileSync('bash', ['--norc'], { input: script })
    .toString()
    .replace(/\x1e[^\x1e]*\x1e\n/g, '')
}

const COMMANDS: [string, string][] = [
  ['several lines', 'echo a\necho "b\nc"\n'],
  ['a here-document', 'cat <<EOF\n$((6*7)) `echo x`\nEOF'],
  ['quotes', `printf '%s\\n' "it's" '"' \\' '\\\\'\necho`],
  ['control characters', "printf %s 'a\x01\x03\x04\x15\x1b\x7f\r' | od -An -c\n"],
  ['something like an escape', "printf %s '\\x41\\n\x01' 'f'"],
  ['a hexadecimal digit behind a control character', "printf %s '\x01a\x02f\x7f0' | od -An -tx1"],
  ['several scripts', 'echo žluť 漢字 🐧\n'],
  [
    'two thousand and more',
    `printf %s '${"abc 'q' \\ ".replaceAll("'", '"').repeat(900)}' | md5sum`,
  ],
  ['long, of characters of four bytes', `printf %s '${'🐧'.repeat(3000)}' | md5sum`],
  ['long, with an exclamation mark and a dollar', `printf %s '${'!$x`'.repeat(2000)}' | md5sum`],
  ['exactly at a cut', `: ${'x'.repeat(5000)}; echo end`],
]

describe('the lines to type', () => {
  test('of a few words are short: one, and its mark', () => {
    expect(textsOf('ip link', { isQuick: true })).toEqual([
      'ip link;\\echo "\x1en0=$PS1$!:$?\x1e"\n',
    ])
    expect(textsOf('true', { isQuick: true, status: 1 })[0]).toBe(
      `((0))&&:;${textsOf('true', { isQuick: true })[0]}`,
    )
  })

  test.each(COMMANDS)('of %s make bash run the command itself', (_, command) => {
    const wanted = execFileSync('bash', ['-c', command]).toString()
    for (const manner of MANNERS) expect(run(textsOf(command, manner))).toBe(wanted)
  })

  test.each(COMMANDS)('of %s fit in a cooked terminal, each a whole one', (_, command) => {
    for (const line of MANNERS.flatMap((manner) => textsOf(command, manner))) {
      expect(Buffer.byteLength(line)).toBeLessThan(4000)
      expect(line.slice(0, -1)).not.toMatch(/[\x00-\x08\x0a-\x1f\x7f]/)
      expect(line.endsWith('\n')).toBe(true)
      expect(() => execFileSync('bash', ['-n'], { input: line })).not.toThrow()
    }
  })

  test.each([
    [0, ''],
    [1, ''],
    [3, ''],
    [127, ''],
    [0, '1 0'],
    [3, '0 2 3'],
  ])('give the command the status %j and the statuses %j of the one before', (status, each) => {
    const show = 'echo "$? ${PIPESTATUS[*]} $_"'
    for (const manner of MANNERS) {
      const [seen] = run(textsOf(show, { ...manner, status, each }), { before: ': last' }).split(
        '\n',
      )
      expect(seen).toBe(`${status} ${each === '' ? status : each} last`)
    }
  })
})

test.each(['plain', 'command', 'path'] as const)(
  'a probe is printed where names are %s',
  (naming) => {
    const { stdout } = spawnSyncBash(probeLine('n7', { before: 'true', naming }).replace('>&0', ''))
    expect(stdout).toMatch(/^\x1en7:\d*:[A-Za-z]*::0:0:\d+\x1e$/)
  },
)

test('a probe tells the shell and its status, and runs what is given first', () => {
  const line = probeLine('n7', { before: 'x=1;false' }).replace('>&0', '')
  const { stdout, pid } = spawnSyncBash(`${line}echo "<$x>"`)
  expect(stdout).toMatch(new RegExp(`^\\x1en7:\\d*:[A-Za-z]*::1:1:${pid}\\x1e<1>\\n$`))
})

function spawnSyncBash(input: string): { stdout: string; pid: number } {
  const { stdout, pid } = spawnSync('bash', ['--norc', '-i'], {
    input,
    env: { ...process.env, PS1: '' },
  })
  return { stdout: stdout.toString(), pid }
}
