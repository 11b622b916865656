import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Console } from '../../src/console/console.ts'
import type { Mark } from '../../src/console/marks.ts'
import { Shell } from '../../src/console/shell.ts'
import { probeLine } from '../../src/console/typed.ts'
import { CommandTimeoutError, GuestError, UsageError } from '../../src/errors.ts'
import { Lifeline } from '../../src/lifeline.ts'
import { fedStream } from '../support/fed-stream.ts'
import { localShell } from '../support/local-shell.ts'
import { stopTime } from '../support/stop-time.ts'

/** Resolves when the shell says the next time that it is back. */
function prompt(console: Console): Promise<void> {
  return new Promise((resolve) => {
    const mark = ({ kind }: Mark) => void (kind === 'prompt' && resolve())
    onTestFinished(console.subscribe({ text: () => {}, mark }))
  })
}

describe('outputs', () => {
  test('are exact, without echo and prompt', async () => {
    const { shell } = await localShell()
    const { outputs, output, steps } = await shell.cmd(
      ['echo one', 'false', 'printf "a\\nb"'],
      ['', '', 'b'],
      ['5s', '5s', '5s'],
    )
    expect(outputs).toEqual(['one\n', '', 'a\nb'])
    expect(output).toBe('a\nb')
    expect(steps.map((step) => step.exitCode)).toEqual([0, 1, undefined])
  })

  test('that are too large are an error, and the console goes on', async () => {
    const { shell, console, feed } = await localShell()
    const running = shell.cmd('echo begin; read -r', 'never', '50s').catch((error) => error)
    await console.expect('begin', '10s')
    for (let megabytes = 0; megabytes < 70; megabytes++) feed('y\n'.repeat(2 ** 19))
    const error = await running
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toMatch(
      /^dut0\/vm0: "echo begin; read -r" printed more than 64M, which is the most for a step\n/,
    )
    expect(error.message.length).toBeLessThan(1000)
    expect((await shell.cmd('echo on')).output).toBe('on\n')
  })

  test('of the step after an expected text are its own, fifty times', async () => {
    const { shell } = await localShell()
    for (let i = 0; i < 50; i++) {
      const { outputs } = await shell.cmd(
        [`printf 'x${i}-'`, `echo y${i}`, `echo z${i}`],
        [`x${i}`, '', ''],
      )
      expect(outputs).toEqual([`x${i}`, `y${i}\n`, `z${i}\n`])
    }
  })

  test.each([
    ['several lines', 'echo a\necho b\nfor i in 1 2; do\n  echo $i\ndone', 'a\nb\n1\n2\n'],
    ['a here-document', 'cat <<EOF\nline one\n$((6*7))\nEOF', 'line one\n42\n'],
    [
      'quotes and backslashes',
      `printf '%s\\n' "it's" 'a "b" \\c' '$HOME' '\`x\`' '!x'`,
      `it's\na "b" \\c\n$HOME\n\`x\`\n!x\n`,
    ],
    [
      'control characters',
      "printf '%s' 'a\tb\x03c\x04d\x15e\x7ff' | od -An -c | tr -d ' \\n'",
      'a\\tb003c004d025e177f',
    ],
    ['a comment', '# nothing', ''],
    ['nothing', '', ''],
    ['other scripts', 'echo žluťoučký 漢字 🐧', 'žluťoučký 漢字 🐧\n'],
    ['a background job', 'sleep 0 & wait; echo ok', /ok\n$/],
  ])('of %s', async (_, command, wanted) => {
    const { shell } = await localShell()
    const { outputs } = await shell.cmd([command, 'echo next'])
    if (typeof wanted === 'string') expect(outputs[0]).toBe(wanted)
    else expect(outputs[0]).toMatch(wanted)
    expect(outputs[1]).toBe('next\n')
  })

  test('of a command of 100,000 characters', async () => {
    const { shell } = await localShell()
    const text = 'abc\'"\\ é\n'.repeat(10_000)
    const { output } = await shell.cmd(
      `printf %s ${JSON.stringify('').slice(2)}'${text.replaceAll("'", `'\\''`)}' | md5sum`,
    )
    const { createHash } = await import('node:crypto')
    expect(output).toBe(`${createHash('md5').update(text).digest('hex')}  -\n`)
  })

  test('of ten megabytes come whole and in order', async () => {
    const { shell } = await localShell()
    const { output } = await shell.cmd('seq 1 1400000', '', '50s')
    const lines = output.split('\n')
    expect(lines).toHaveLength(1_400_001)
    expect(lines.findIndex((line, i) => line !== String(i + 1))).toBe(1_400_000)
  })

  test('that hold a prompt, the protocol, or an old mark are output', async () => {
    const { shell, console } = await localShell()
    const old = console.marks.makeId()
    const { outputs } = await shell.cmd([
      `printf '\\036${old}=:0\\036root@vm:~# $ > \\n'`,
      'printf "<%s>" "$PS1" "$PS2"',
      'set | grep -c __dut',
    ])
    expect(outputs).toEqual([`\x1e${old}=:0\x1eroot@vm:~# $ > \n`, '<><>', '0\n'])
  })
})

describe('programs that talk', () => {
  test('are typed to by the steps after their prompt', async () => {
    const { shell } = await localShell()
    const { outputs, steps } = await shell.cmd(
      ['read -p "name? " n; echo "hello $n"; (exit 7)', 'Ada', 'echo after'],
      ['name? ', '', ''],
    )
    expect(outputs).toEqual(['name? ', 'hello Ada\n', 'after\n'])
    expect(steps[1]?.exitCode).toBe(7)
  })

  test('wait for the shell where they are too long for a terminal, ten times', async () => {
    const { shell } = await localShell()
    const busy = 'echo ready; head -c 2000000 /dev/zero | cksum >/dev/null'
    const long = `x=${'y'.repeat(9000)}; echo ${'$'}{#x}`
    for (let i = 0; i < 10; i++) {
      const { output } = await shell.cmd([busy, long], ['ready', ''], ['20s', '20s'])
      expect(output).toBe('9000\n')
    }
    const error = await shell
      .cmd(['echo on; cat', long], ['on', ''], ['20s', '300ms'])
      .catch((e) => e)
    expect(error.message).toContain('the shell did not come back in time')
    expect(error.hint).toMatch(/^nothing was typed: a program .* 4095 bytes at most$/)
    expect((await shell.cmd('echo back')).output).toBe('back\n')
  })

  test('several lines are read by one program and then one by the shell', async () => {
    const { shell } = await localShell()
    const { outputs } = await shell.cmd(
      [
        'printf go; while read -r l && [ "$l" != quit ]; do echo "got $l."; done; echo bye',
        'a',
        'b',
        'quit',
        'echo sh',
      ],
      ['go', 'got a.', 'got b.', 'bye', ''],
    )
    expect(outputs.slice(1).map((text) => text.trimStart())).toEqual([
      'got a.',
      'got b.',
      'bye',
      'sh\n',
    ])
  })

  test('blank lines and comments in doubt do not confuse the account', async () => {
    const { shell } = await localShell()
    for (let i = 0; i < 10; i++) {
      const { outputs } = await shell.cmd(
        ['printf x', '', '# c', 'printf y', '', 'echo z'],
        ['x', '', '', 'y', '', ''],
      )
      expect(outputs).toEqual(['x', '', '', 'y', '', 'z\n'])
    }
  })

  test('an expression may match across pieces of output', async () => {
    const { shell } = await localShell()
    const { output } = await shell.cmd(
      'printf "begin "; sleep 0.05; printf "mid"; sleep 0.05; echo "dle end"',
      /mid+le \w+/,
    )
    expect(output).toBe('begin middle end')
  })

  test('is not met by its echo, also where the step before was met before its end', async () => {
    const { shell } = await localShell()
    await shell.cmd('stty sane')
    for (let i = 0; i < 5; i++) {
      await shell.cmd('printf go""on; sleep 0.1', 'goon')
      const { output } = await shell.cmd('printf one; echo ready', 'ready')
      expect(output).toBe('oneready')
    }
  })
})

describe('a step that is not met', () => {
  test('fails at its deadline and says which, what and the tail; the console is usable again', async () => {
    const { shell, console } = await localShell()
    stopTime()
    const failed = shell
      .cmd(['echo one', '(echo two; exec sleep 100)'], ['one', 'never'], ['5s', '700ms'])
      .catch((e: unknown) => e as CommandTimeoutError)
    await console.expect('two')
    await vi.advanceTimersByTimeAsync(699)
    expect(await Promise.race([failed, 'under way'])).toBe('under way')
    const back = vi.fn()
    console.subscribe({ text: () => {}, mark: back })
    vi.advanceTimersByTime(1)
    vi.useRealTimers() // the recovery has its time
    const error = await failed
    expect(back).not.toHaveBeenCalled() // and is not waited for
    expect(error).toBeInstanceOf(CommandTimeoutError)
    expect((error as Error).message).toMatch(
      /dut0\/vm0: step 2 of 2, "\(echo two; exec sleep 100\)": expected "never"/,
    )
    expect((error as Error).message).toContain('| two')
    expect((await shell.cmd('echo fine')).output).toBe('fine\n')
    expect((await shell.cmd('jobs -p; pgrep -P $$ -x sleep')).output).toBe('')
  })

  test('tells when the command had ended already', async () => {
    const { shell, console } = await localShell()
    stopTime()
    const late = shell.cmd('echo x', 'never', '300ms')
    await prompt(console)
    vi.advanceTimersByTime(300)
    await expect(late).rejects.toThrow(/the command had ended/)
    expect((await shell.cmd('echo fine')).output).toBe('fine\n')
  })

  test('does not send the commands behind it', async () => {
    const { shell } = await localShell()
    await expect(shell.cmd(['sleep 100', 'touched=1'], '', '200ms' as never)).rejects.toThrow(
      UsageError,
    )
    await expect(shell.cmd(['sleep 100', 'touched=1'], ['', ''], ['200ms', '1s'])).rejects.toThrow(
      CommandTimeoutError,
    )
    expect((await shell.cmd('echo "${touched-no}"')).output).toBe('no\n')
  })

  test('a program that catches the keys holds the console, and the next call says so', {
    timeout: 30_000,
  }, async () => {
    const { shell, console } = await localShell()
    const dir = await mkdtemp(join(tmpdir(), 'held-'))
    onTestFinished(() => rm(dir, { recursive: true }))
    const stubborn = `bash -c 'trap "" INT QUIT; echo in; until [ -e ${dir}/go ]; do read -t 0.05; done'`
    const stop = new AbortController()
    const running = shell.cmd(stubborn, 'never', '60s', { signal: stop.signal })
    await console.expect('in', '5s')
    const reason = new Error('the test is over')
    stop.abort(reason)
    await expect(running).rejects.toBe(reason)
    await expect(shell.cmd('echo hi')).rejects.toThrow(/still held by .*trap/)
    const back = prompt(console)
    await writeFile(`${dir}/go`, '')
    await back
    expect((await shell.cmd('echo back')).output).toBe('back\n')
  })

  test('ends at once when its signal is aborted', async () => {
    const { shell } = await localShell()
    const stop = new AbortController()
    const running = shell.cmd('echo started; sleep 100', 'never', '60s', { signal: stop.signal })
    await shell.console.expect('started', '5s')
    const reason = new Error('the test is over')
    stop.abort(reason)
    await expect(running).rejects.toBe(reason)
    expect((await shell.cmd('echo fine')).output).toBe('fine\n')
  })

  test('ends at once, with the cause, when the guest is gone', async () => {
    const { shell, life, pty } = await localShell()
    const running = shell.cmd('echo started; sleep 100', '', '60s')
    await shell.console.expect('started', '5s')
    pty.kill()
    await expect(running).rejects.toThrow('the shell is gone')
    expect(life.ended.aborted).toBe(true)
    await expect(shell.cmd('echo x')).rejects.toThrow('the shell is gone')
  })

  test('an unfinished command is refused and cleared away', async () => {
    const { shell } = await localShell()
    await expect(shell.cmd("echo 'open")).rejects.toThrow(/waits for the rest/)
    expect((await shell.cmd('echo fine')).output).toBe('fine\n')
  })

  test('a trap that runs before each command is not forgotten by a probe', async () => {
    const { shell } = await localShell()
    await shell.cmd(`trap 'echo dbg' DEBUG`)
    await shell.adopt({ timeoutMs: 10_000 })
    expect((await shell.cmd('echo token')).output).toBe('dbg\ntoken\n')
  })

  test('a shell that ends is reported, and the next one is used', async () => {
    const { shell } = await localShell({ respawn: true })
    await shell.cmd('v=1')
    await expect(shell.cmd('exit 3')).rejects.toThrow(GuestError)
    await shell.ready({ timeoutMs: 5000 })
    expect((await shell.cmd('echo "${v-new}"')).output).toBe('new\n')
  })
})

describe.each([{ isPlain: true }, { isPlain: false }])(
  'a shell that another console set up, %o',
  ({ isPlain }) => {
    test('is adopted, and driven like one of its own', async () => {
      const { shell: first, open } = await localShell()
      await first.cmd('kept=1')
      const { shell } = open()
      await shell.adopt({ hostname: 'vm7', isPlain, timeoutMs: 10_000 })
      const { outputs, steps } = await shell.cmd(
        ['echo "$kept"', '(exit 7)', 'printf "x\\ny"', 'read -p "name? " n', 'Ada', 'echo $n'],
        ['', '', 'y', 'name? ', '', ''],
      )
      expect(outputs).toEqual(['1\n', '', 'x\ny', 'name? ', '', 'Ada\n'])
      expect(steps[1]?.exitCode).toBe(7)
      expect((await shell.cmd('echo a\necho b')).output).toBe('a\nb\n')
    })

    test('is adopted after many prompts, and time and again', async () => {
      const { shell: first, open } = await localShell()
      for (let i = 0; i < 5; i++) await first.cmd(['printf x', 'echo y', 'echo z'], ['x', '', ''])
      for (let i = 0; i < 5; i++) {
        const { shell } = open()
        await shell.adopt({ hostname: 'vm7', isPlain, timeoutMs: 10_000 })
        expect((await shell.cmd(`echo ${i}`)).output).toBe(`${i}\n`)
      }
    })

    test('has its own name and its own random numbers', async () => {
      const { shell: first, open } = await localShell()
      const drawn = new Set<string>()
      for (const hostname of ['vm7', 'vm-8.lan', "it's; odd"]) {
        await first.cmd('RANDOM=1')
        const { shell } = open()
        await shell.adopt({ hostname, isPlain, timeoutMs: 10_000 })
        const { outputs } = await shell.cmd(['echo "$HOSTNAME"', 'echo $RANDOM $RANDOM'])
        expect(outputs[0]).toBe(`${hostname}\n`)
        drawn.add(outputs[1] ?? '')
        await first.adopt({ hostname, isPlain, timeoutMs: 10_000 })
      }
      expect(drawn.size).toBe(3)
    })

    test.each([
      ['nothing', ''],
      ['half a line', 'left=1; echo left; '],
      ['half an unfinished command', "echo 'left"],
      ['lines that were not read', "sleep 0.2; echo left\nprintf 'more '\nfalse\n"],
      ['a line and a half', 'sleep 0.2; echo left\nleft=1; echo le'],
      ['old marks, whole and cut', "printf '\\036abc1:0\\036\\036abc'\n"],
      ['a line end', '\n\n'],
    ])('is adopted whatever lies there: %s', async (_, lies) => {
      const { pty, open } = await localShell()
      const { shell, console } = open()
      pty.write(lies)
      await shell.adopt({ hostname: 'vm7', isPlain, timeoutMs: 10_000 })
      const before = console.text
      const { outputs, steps } = await shell.cmd(['true', 'echo "${left-none}"', 'echo $HOSTNAME'])
      expect(outputs).toEqual(['', 'none\n', 'vm7\n'])
      expect(steps[0]?.exitCode).toBe(0)
      expect(console.text.slice(before.length)).toBe('none\nvm7\n')
    })

    test('and that does not wait at a prompt is given up at the deadline', async () => {
      const { shell: first, pty, open } = await localShell()
      pty.write('echo busy; sleep 100\n')
      await first.console.expect('busy', '5s')
      const { shell } = open()
      await expect(shell.adopt({ hostname: 'vm7', isPlain, timeoutMs: 300 })).rejects.toThrow(
        'timed out',
      )
    })

    test('is adopted where its name cannot be set', async () => {
      const { shell: first, open } = await localShell()
      await first.cmd('readonly HOSTNAME=fixed')
      const { shell } = open()
      await shell.adopt({ hostname: 'vm7', isPlain, timeoutMs: 10_000 })
      expect((await shell.cmd('echo "$HOSTNAME"')).output).toBe('fixed\n')
    })

    test('has the status of its last command after it was adopted', async () => {
      const { shell } = await localShell()
      for (const status of [7, 0, 1]) {
        await shell.cmd(`(exit ${status})`)
        await shell.adopt({ isPlain, timeoutMs: 10_000 })
        expect((await shell.cmd('echo "$?"')).output).toBe(`${status}\n`)
      }
    })
  },
)

describe('calls', () => {
  test('given at once take turns', async () => {
    const { shell } = await localShell()
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => shell.cmd(`echo ${i}`)))
    expect(results.map((r) => r.output)).toEqual(Array.from({ length: 20 }, (_, i) => `${i}\n`))
  })

  test.each([
    ['an empty list', [], undefined, undefined, /empty/],
    ['too few expects', ['a', 'b'], [''], undefined, /2 commands but 1 expects/],
    ['too many timeouts', ['a'], [''], ['1s', '2s'], /1 commands but 2 timeouts/],
    ['a timeout in seconds', ['a'], [''], [5], /5 ms\? DTS counted seconds: write '5s'/],
    ['a timeout without a unit', ['a'], [''], ['5'], /timeouts\[0\]: "5" is not a time/],
    ['an expect that is no pattern', ['a'], [7], ['5s'], /expects\[0\]/],
  ])('with %s are refused and type nothing', async (_, commands, expects, timeouts, message) => {
    const { shell, console } = await localShell()
    const before = console.text
    const call = shell.cmd(commands, expects as never, timeouts as never)
    await expect(call).rejects.toThrow(UsageError)
    await expect(call).rejects.toThrow(message)
    expect((await shell.cmd('echo only')).output).toBe('only\n')
    expect(console.text.slice(before.length)).toBe('only\n')
  })
})

describe('a shell that begins anew', () => {
  test('is waited for, though the one before it just said that it was back', async () => {
    const { shell, console } = await localShell({ respawn: true })
    const load = async () => {
      const heard = prompt(console)
      const id = console.marks.makeId()
      console.marks.await(id)
      console.send(probeLine(id))
      await heard
      console.send('exit\n')
    }
    await shell.back(undefined, { reason: new Error('reset'), load, timeoutMs: 10_000 })
    expect((await shell.cmd('echo here')).output).toBe('here\n')
  })

  test('is put under the protocol, though it announced itself when nobody listened', () => {
    const { stream, typed, feed } = fedStream()
    const console = new Console(stream, { life: new Lifeline() })
    feed('\x1edut-shell 77\x1e\n')
    expect(typed).toEqual([])
    new Shell(console)
    expect(typed).toEqual([expect.stringMatching(/^\\printf .*\n$/)])
  })
})

test('a shell that ends when it has just said that it is back is not waited for', async () => {
  const { shell } = await localShell({ respawn: true })
  const script = 'PROMPT_COMMAND="read -r; read -r; exit"; sleep 1000'
  const held = shell.cmd(script, 'never', '300ms')
  await expect(held).rejects.toThrow(CommandTimeoutError)
  const signal = AbortSignal.timeout(15_000)
  expect((await shell.cmd('echo back', '', '10s', { signal })).output).toBe('back\n')
})

test('it is back whenever a wait ends, also while it is just starting a program', async () => {
  const { shell, console } = await localShell({ respawn: true })
  for (let i = 0; i < 50; i++) {
    const stop = new AbortController()
    const signal = stop.signal
    const waiting = shell.cmd('echo waiting; sleep 1000', 'never', '60s', { signal })
    waiting.catch(() => {})
    await console.expect('waiting\n', '10s')
    const moment = performance.now() + Math.random() * 1.2
    while (performance.now() < moment);
    stop.abort(new Error('over'))
    await expect(waiting).rejects.toThrow('over')
    expect((await shell.cmd('echo back', '', '10s')).output).toBe('back\n')
  }
})

test('a line that was too long to be typed in time leaves nothing in the next output', async () => {
  const { shell } = await localShell()
  const commands = ['echo on; cat', 'x', 'y'.repeat(5000)]
  const steps = shell.cmd(commands, ['on', 'x', ''], ['10s', '10s', '300ms'])
  await expect(steps).rejects.toThrow(CommandTimeoutError)
  expect((await shell.cmd('echo back')).output).toBe('back\n')
})
