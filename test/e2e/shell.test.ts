import { CommandTimeoutError, dutTest, expect } from 'vitest-dut'

const test = dutTest({ vms: 1, vm: { memory: '256M' }, reset: 'each' })
const T = { timeout: 120_000 }

test.for([
  ['a profile', '. /etc/profile'],
  ['bash.bashrc', '. /etc/bash.bashrc'],
  ['PS1 by hand', `PS1='\\u@\\h:\\w\\$ '`],
  ['PS2', `PS2='> '`],
  ['a PROMPT_COMMAND that prints', `PROMPT_COMMAND='printf "title\\n"'`],
  [
    'a PROMPT_COMMAND of several that cannot be changed',
    `readonly PROMPT_COMMAND=('echo a' 'printf b')`,
  ],
  ['PS1 and TERM that cannot be changed', `PS1='# '; readonly PS1 TERM`],
  [
    'a file that does all',
    `printf "PS1='(env) \\\\$ '\\nPROMPT_COMMAND='history -a'\\n" >/tmp/vars; . /tmp/vars`,
  ],
  ['a sane terminal', 'stty sane'],
  ['an echo', 'stty echo'],
  ['a raw terminal', 'stty raw'],
  ['stderr in a file', 'exec 2>/tmp/err'],
  ['a function in place of a builtin', 'printf() { echo fake; }'],
  ['an editor of lines', 'set -o vi'],
] as const)('%s: the next commands are exact', T, async ([, line], { vm }) => {
  const { steps } = await vm.cmd(line, '', '30s')
  expect.soft(steps[0]).toMatchObject({ output: '', exitCode: 0 })
  const { outputs } = await vm.cmd(['echo next', 'echo "a\nb"; echo c', 'false', 'echo $?'])
  expect.soft(outputs).toEqual(['next\n', 'a\nb\nc\n', '', '1\n'])
  await using session = await vm.session()
  expect.soft((await session.cmd([line, 'echo there'])).outputs).toEqual(['', 'there\n'])
})

test('output that goes to a file is not on the console, and the shell is', T, async ({ vm }) => {
  const { outputs } = await vm.cmd([
    'exec >/tmp/out 2>&1',
    'echo hidden',
    'exec >/dev/tty 2>&1',
    'cat /tmp/out',
  ])
  expect(outputs).toEqual(['', '', '', 'hidden\n'])
})

test.for(['exec bash', 'bash --norc', 'exec env -i bash', 'su'])(
  'another shell (%s) is noticed, and driven like the first',
  T,
  async (line, { vm }) => {
    expect.soft((await vm.cmd(line, '', '30s')).steps[0]).toMatchObject({ output: '', exitCode: 0 })
    const { outputs } = await vm.cmd(['echo next', 'false', 'echo "$?"'])
    expect(outputs).toEqual(['next\n', '', '1\n'])
  },
)

test('a shell that is no bash is told of, and ended', T, async ({ vm }) => {
  for (const line of ['dash', 'exec dash']) {
    await expect(vm.cmd(line, '', '30s')).rejects.toThrow(/a shell that is no bash .*: dash/)
    expect((await vm.cmd('echo back', '', '30s')).output).toBe('back\n')
  }
})

test('a shell within another ends, and the first is there', T, async ({ vm }) => {
  await vm.cmd(['outer=1', 'bash --norc', 'echo "<$outer>"'])
  const { outputs, steps } = await vm.cmd(['exit 3', 'echo "<$outer>"'])
  expect(outputs[1]).toBe('<1>\n')
  expect(steps[0]?.exitCode).toBe(3)
})

test('a command that gives up its line ends with its status', T, async ({ vm }) => {
  const { steps, outputs } = await vm.cmd([
    'set -u',
    'echo $nope',
    'f() { echo $((1/0)); }',
    'f',
    'echo on',
  ])
  expect(steps.map((step) => step.exitCode)).toEqual([0, 1, 0, 1, 0])
  expect(outputs.at(-1)).toBe('on\n')
})

test(
  'the program that holds the console is named, and none where there is none',
  T,
  async ({ vm }) => {
    await vm.cmd(`bash -c 'trap "" INT QUIT; echo in; sleep 1000; sleep 1000'`, 'in', '30s')
    await expect(vm.cmd('not read', '', '1s')).rejects.toThrow(CommandTimeoutError)
    await expect(vm.cmd('echo x', '', '30s')).rejects.toThrow(/still held by "\w+" \(process \d+\)/)
    await vm.exec(`pkill -9 -f 'trap.*INT'; pkill -9 sleep`)
    expect((await vm.cmd('echo back', '', '30s')).output).toBe('back\n')
    await expect(vm.cmd('read x', '', '1s')).rejects.toThrow(CommandTimeoutError)
    expect((await vm.cmd('echo "back<$x>"', '', '30s')).output).toBe('back<>\n')
  },
)

test('an expected text is not met by the echo of the command', T, async ({ vm }) => {
  await vm.cmd('stty sane')
  await expect(vm.cmd('true never', 'never', '2s')).rejects.toThrow(CommandTimeoutError)
  expect((await vm.cmd('echo do""ne', 'done')).output).toBe('done')
  const { outputs } = await vm.cmd(
    ['python3 -q', 'print(6*7)', 'exit()'],
    ['>>> ', '42', ''],
    ['60s', '15s', '15s'],
  )
  expect(outputs[1]).toBe('42')
})
