import { createHash } from 'node:crypto'
import { type DutError, dutTest, expect, UsageError } from 'vitest-dut'
import { waitFor } from '../../src/wait.ts'

const test = dutTest({ vms: 1 })
const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex')

test.describe('cmd', () => {
  test('gives exact outputs', async ({ vm }) => {
    const { outputs, steps } = await vm.cmd(
      ['echo one', 'false', 'printf "a\\nb"'],
      ['', '', 'b'],
      ['5s', '5s', '5s'],
    )
    expect(outputs).toEqual(['one\n', '', 'a\nb'])
    expect(steps.map((step) => step.exitCode)).toEqual([0, 1, undefined])
  })

  test('keeps the shell: folder, variables, background jobs', async ({ vm }) => {
    await vm.cmd(['cd /tmp', 'x=1', 'sleep 1000 &'])
    const { outputs } = await vm.cmd(['pwd', 'echo $x', 'kill %1; wait %1 2>/dev/null; echo $?'])
    expect(outputs[0]).toBe('/tmp\n')
    expect(outputs[1]).toBe('1\n')
    expect(outputs[2]).toMatch(/143\n$/)
  })

  test('refuses what cannot be meant, and types nothing', async ({ vm }) => {
    const before = vm.console.text
    await expect(vm.cmd(['a', 'b'], [''])).rejects.toThrow(/2 commands but 1 expects/)
    await expect(vm.cmd([])).rejects.toThrow(/list of commands is empty/)
    await expect(vm.cmd(['a'], [''], [5])).rejects.toThrow(/5 ms\? DTS counted seconds/)
    await expect(vm.cmd(['a'], [''], [5])).rejects.toThrow(UsageError)
    expect(vm.console.text).toBe(before)
  })

  test('fails at its deadline, with the step, and gives the console back', async ({ vm }) => {
    // How late this process is just now, whatever it waits for.
    const startedAt = performance.now()
    const timer = waitFor(new Promise<never>(() => {}), { timeoutMs: 1000 }).catch(
      () => performance.now() - startedAt,
    )
    const error: DutError = await vm
      .cmd(['echo go', 'ping -i 0.2 127.0.0.1'], ['go', 'never printed'], ['5s', '1s'])
      .then(
        () => expect.unreachable(),
        (e) => e,
      )
    expect(error.name).toBe('CommandTimeoutError')
    expect(error.message).toMatch(/dut0\/vm0: step 2 of 2, "ping .*": expected "never printed"/)
    expect(error.message).toContain('| 64 bytes from 127.0.0.1')
    expect(error.elapsedMs).toBeGreaterThan(999)
    expect(error.elapsedMs).toBeLessThan((await timer) + 100)
    expect(error.stack).toContain('console.test.ts') // the line that waited
    expect((await vm.cmd('echo usable')).output).toBe('usable\n')
    expect((await vm.exec('pidof ping')).exitCode).toBe(1)
  })

  test('ends with its test, whose body Vitest does not stop', async ({ vm }) => {
    const stop = new AbortController()
    const waiting = vm.cmd('sleep 1000', '', '10m', { signal: stop.signal })
    await expect.poll(async () => (await vm.exec('pidof sleep')).exitCode).toBe(0)
    stop.abort(new Error('over'))
    await expect(waiting).rejects.toThrow('over')
    expect((await vm.cmd('echo usable')).output).toBe('usable\n')
  })

  test('is not disturbed by kernel messages', async ({ vm }) => {
    const { output } = await vm.cmd(
      'for i in 1 2 3 4 5; do echo "<1>noise $i" > /dev/kmsg; echo line $i; done',
    )
    expect(output).toBe('line 1\nline 2\nline 3\nline 4\nline 5\n')
    await expect.poll(() => vm.kernelLog).toContain('noise 5')
  })
})

test.describe('exec', () => {
  test('runs a script of 100 kB', async ({ vm }) => {
    const lines = Array.from({ length: 2000 }, (_, i) => `v=$((v + ${i})) # ${'x'.repeat(40)}`)
    const { stdout, exitCode } = await vm.exec([...lines, 'echo $v'].join('\n'))
    expect(stdout).toBe(`${(1999 * 2000) / 2}\n`)
    expect(exitCode).toBe(0)
  })

  test('gives back a megabyte of base64 whole', async ({ vm }) => {
    const { stdout } = await vm.exec(
      'head -c 1000000 /dev/urandom > /tmp/r; base64 /tmp/r; sha256sum < /tmp/r',
    )
    const lines = stdout.trimEnd().split('\n')
    const digest = lines.pop()
    expect(`${sha256(Buffer.from(lines.join(''), 'base64'))}  -`).toBe(digest)
  })

  test('gives back ten megabytes of random bytes exactly', async ({ vm }) => {
    await vm.exec('head -c 10000000 /dev/urandom > /tmp/r10', { check: true })
    const { stdoutBytes } = await vm.exec('cat /tmp/r10')
    const { stdout } = await vm.exec('sha256sum < /tmp/r10; rm /tmp/r10')
    expect(stdoutBytes).toHaveLength(10_000_000)
    expect(stdout).toBe(`${sha256(stdoutBytes)}  -\n`)
  })

  test.for([
    ['no last newline', 'printf abc', 'abc', 0],
    [
      'a prompt and marks',
      `printf 'root@vm0:~# testpmd> \\036abcdS\\036\\036dut-shell 1\\036\\n'`,
      'root@vm0:~# testpmd> \x1eabcdS\x1e\x1edut-shell 1\x1e\n',
      0,
    ],
    ['a reader of stdin', 'cat; echo "end $?"', 'end 0\n', 0],
    ['a status', 'exit 42', '', 42],
    ['a signal', 'kill -TERM $BASHPID', '', 143],
    ['a missing program', 'nosuchprogram 2>/dev/null', '', 127],
    ['stderr in its place', 'echo a; echo b >&2; echo c', 'a\nb\nc\n', 0],
    ['bytes that are no text', `printf '\\0\\377\\n'`, '\0\ufffd\n', 0],
  ] as const)('is right for %s', async ([, command, stdout, exitCode], { vm }) => {
    expect(await vm.exec(command)).toMatchObject({ stdout, exitCode })
  })

  test('keeps stderr apart, takes input, a folder and an environment', async ({ vm }) => {
    const result = await vm.exec('pwd; echo "$X"; cat; echo oops >&2', {
      ...{ stderr: 'apart', cwd: '/usr', env: { X: "it's" }, input: 'typed' },
    })
    expect(result).toMatchObject({ stdout: `/usr\nit's\ntyped`, stderr: 'oops\n', exitCode: 0 })
  })

  test('does not wait for what it leaves running', async ({ vm }) => {
    const { stdout, durationMs } = await vm.exec('sleep 1000 & echo started $!')
    expect(durationMs).toBeLessThan(10_000)
    await vm.exec(`kill ${stdout.split(' ')[1]}`, { check: true })
  })

  test('kills what does not end in time', async ({ vm }) => {
    await expect(vm.exec('echo here; sleep 1234', { timeout: '500ms' })).rejects.toThrow(
      /"echo here; sleep 1234" did not end in time[\s\S]*\| here/,
    )
    await expect.poll(async () => (await vm.exec('pgrep -f "sleep 1234"')).exitCode).toBe(1)
  })

  test('check: true rejects on a status, with the output', async ({ vm }) => {
    await expect(vm.exec('echo why; exit 3', { check: true })).rejects.toThrow(
      /ended with status 3[\s\S]*\| why/,
    )
  })

  test('thirty at once do not mix', async ({ vm }) => {
    const results = await Promise.all(
      Array.from({ length: 30 }, (_, i) => vm.exec(`seq ${i}000 ${i}999; exit ${i}`)),
    )
    for (const [i, { stdout, exitCode }] of results.entries()) {
      expect(exitCode).toBe(i)
      expect(stdout.split('\n').slice(0, -1)).toEqual(
        Array.from({ length: 1000 }, (_, k) => String(Number(`${i}000`) + k)),
      )
    }
  })
})

test('two sessions and a program at once do not disturb each other', async ({ vm }) => {
  const [a, b] = await Promise.all([vm.session('a'), vm.session('b')])
  const python = await vm.spawn('python3 -i -q', { prompt: '>>> ' })
  const rounds = Array.from({ length: 20 }, (_, i) => i)
  const talk = async (
    cmd: (line: string) => Promise<{ output: string }>,
    line: (i: number) => string,
    wanted: (i: number) => string,
  ) => {
    for (const i of rounds) expect((await cmd(line(i))).output).toBe(wanted(i))
  }
  await Promise.all([
    talk(
      (line) => a.cmd(line),
      (i) => `echo a $((${i} * 2))`,
      (i) => `a ${i * 2}\n`,
    ),
    talk(
      (line) => b.cmd(line),
      (i) => `echo b $((${i} * 3))`,
      (i) => `b ${i * 3}\n`,
    ),
    talk(
      (line) => vm.cmd(line),
      (i) => `echo vm ${i}`,
      (i) => `vm ${i}\n`,
    ),
    talk(
      (line) => python.cmd(line),
      (i) => `print(${i} * 5)`,
      (i) => `${i * 5}\n`,
    ),
    ...rounds.map((i) => vm.exec(`echo ${i}`).then((r) => expect(r.stdout).toBe(`${i}\n`))),
  ])
  await a.close()
  await expect(a.cmd('true')).rejects.toThrow(/session a was closed/)
  python.console.write('exit(3)\n')
  expect(await python.exited).toBe(3)
  await expect(python.cmd('1')).rejects.toThrow(/has ended with status 3/)
  expect((await b.cmd('echo still')).output).toBe('still\n')
  await b.close()
  await expect.poll(async () => (await vm.exec('ls /dev/pts | grep -c "[0-9]"')).stdout).toBe('0\n')
})

test('files go in and come out the same', async ({ vm }) => {
  const data = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 256))
  await vm.copyIn(data, "/tmp/deep/er/it's a file", { mode: 0o755 })
  expect(Buffer.compare(await vm.copyOut("/tmp/deep/er/it's a file"), data)).toBe(0)
  await expect(vm.copyOut('/nothing/here')).rejects.toThrow(/status 1[\s\S]*No such file/)
})

test('the console is there for programs that talk', async ({ vm }) => {
  vm.console.write('read -p "who? " who; echo "hello $who"\n')
  await vm.console.expect('who? ', '5s')
  vm.console.write('Žofie\n')
  expect(await vm.console.expect(/hello \S+/, '5s')).toContain('hello Žofie')
  expect(vm.console.tail(1)).toBe('who? hello Žofie')
  for (let i = 0; i < 20; i++) {
    vm.console.write(`echo by hand ${i}\n`)
    expect((await vm.cmd(`echo by cmd ${i}`)).output).toBe(`by cmd ${i}\n`)
  }
})
