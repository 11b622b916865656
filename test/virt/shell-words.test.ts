import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { shellWords } from '../../src/virt/shell-words.ts'

test.each([
  '',
  '  ',
  '-device edu',
  ` -append 'a  b'  "c d"`,
  String.raw`a\ b c\'d "e\"f\\g" 'h\i'`,
  `x'y'"z"'' ""`,
  `-drive file=/a,if=none -name 'it'"'"'s'`,
])('words are those of sh: %j', (text) => {
  const print = execFileSync('sh', ['-c', `for word in ${text}; do printf '%s\\0' "$word"; done`])
  expect(shellWords('x', text)).toEqual(String(print).split('\0').slice(0, -1))
})

test.each([`'a`, `a "b`, `"a\\"`])('a quote that is open is refused: %j', (text) => {
  expect(() => shellWords('vm0: usercmd', text)).toThrow('vm0: usercmd: a quote is not closed')
})
