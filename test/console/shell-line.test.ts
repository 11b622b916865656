import { describe, expect, test, vi } from 'vitest'
import { Console } from '../../src/console/console.ts'
import { Shell } from '../../src/console/shell.ts'
import { Lifeline } from '../../src/lifeline.ts'
import { banner } from '../support/cuts.ts'
import { fedStream } from '../support/fed-stream.ts'
import { localShell } from '../support/local-shell.ts'

const RS = '\x1e'
const BANNER = `\\036dut-shell 77\\036\\n`

/** A shell of which the test says every mark, by the lines that are typed. */
async function toldShell() {
  const { stream, typed, feed } = fedStream()
  const shell = new Shell(new Console(stream, { life: new Lifeline() }))
  const idOf = (line: string | undefined) => /(?:\\036|\x1e)(\w+)[:=]/.exec(line ?? '')?.[1] ?? ''
  /** Says the end of the line that was typed so, by the text in it. */
  const end = (text: string, status = 0) => {
    const line = typed.find((one) => one.includes(text))
    const pid = line?.includes(':$$') ? ':77' : ''
    feed(`${RS}${idOf(line)}:2:himBs::${status}:${status}${pid}${RS}`)
  }
  feed(banner(77))
  end(':$$')
  typed.length = 0
  return { shell, typed, feed, end }
}

const soon = () => new Promise((resolve) => setImmediate(resolve))

describe('a line is met by its own end only:', () => {
  test('a probe that was typed before it is answered, and says nothing of it', async () => {
    const { shell, typed, feed, end } = await toldShell()
    const running = shell.cmd(['cat log', 'echo $one', 'echo $two'])
    await soon()
    feed(banner(5))
    expect(typed.filter((line) => line.includes(':$$'))).toHaveLength(1)
    end('cat log')
    await soon()
    end(':$$')
    await soon()
    expect(typed.at(-1)).toContain('$one')
    feed('1\n')
    end('$one')
    await soon()
    feed('2\n')
    end('$two', 3)
    const { outputs, steps } = await running
    expect(outputs.slice(1)).toEqual(['1\n', '2\n'])
    expect(steps.map(({ exitCode }) => exitCode)).toEqual([0, 0, 3])
  })

  test('the end of an earlier line has the shell asked, which still says its own', async () => {
    const { shell, typed, feed, end } = await toldShell()
    const stop = new AbortController()
    const given = shell.cmd('echo $late', '', '60s', { signal: stop.signal })
    given.catch(() => {})
    await soon()
    stop.abort(new Error('over'))
    await expect(given).rejects.toThrow('over')
    await soon()
    end(':$$') // what the ending key's probe asked
    const next = shell.cmd('echo $next')
    await soon()
    await soon()
    end('$late', 9)
    feed('n\n')
    end('$next')
    expect((await next).steps[0]).toMatchObject({ output: 'n\n', exitCode: 0 })
    expect(typed.filter((line) => line.includes(':$$'))).toHaveLength(2)
  })

  test('the answer to a probe that another has followed says nothing', async () => {
    const { shell, typed, feed, end } = await toldShell()
    const idle = shell.adopt({ timeoutMs: 50 })
    await expect(idle).rejects.toThrow('timed out')
    const adopted = vi.fn()
    const again = shell.adopt({ timeoutMs: 60_000 }).then(adopted)
    end(':$$')
    await soon()
    expect(adopted).not.toHaveBeenCalled()
    typed.shift()
    end(':$$')
    await again
    const running = shell.cmd('echo $x')
    await soon()
    feed('x\n')
    end('$x')
    expect((await running).output).toBe('x\n')
  })

  test('a shell within the shell ends, and its line with it', async () => {
    const { shell } = await localShell({ lookAside: true })
    await shell.cmd(['x=outer', 'bash --norc --noprofile', 'x=inner'])
    expect((await shell.cmd('exit 5')).steps[0]).toMatchObject({ exitCode: 5 })
    expect((await shell.cmd('echo $x $?')).output).toBe('outer 5\n')
  })
})

describe('banners of an old transcript are shown', () => {
  test.each([1, 2, 3, 200])('%i of them, and the next commands are exact', async (count) => {
    const { shell } = await localShell()
    const show = `for ((i = 0; i < ${count}; i++)); do printf '${BANNER}'; done`
    for (let round = 0; round < 3; round++) {
      const commands = [show, 'echo one', `echo two; printf '${BANNER}'`, 'echo three']
      expect((await shell.cmd(commands)).outputs.slice(1)).toEqual(['one\n', 'two\n', 'three\n'])
      expect((await shell.cmd('echo four')).output).toBe('four\n')
    }
  })

  test('and the shell ends in the same command', async () => {
    const { shell } = await localShell({ respawn: true })
    await expect(shell.cmd(`printf '${BANNER}'; exit 3`)).rejects.toThrow(/the shell ended/)
    expect((await shell.cmd('echo on')).output).toBe('on\n')
  })
})

test.each([
  ['printf disabled', ['enable -n printf']],
  ['printf disabled below a function', ['enable -n printf', 'printf() { builtin echo fake; }']],
  ['printf disabled later', ['printf() { builtin echo fake; }', 'enable -n printf']],
  ['functions named command and printf', ['command() { :; }', 'printf() { :; }']],
  ['the same, and printf disabled', ['command() { :; }', 'printf() { :; }', 'enable -n printf']],
  ['functions named builtin and eval', ['builtin() { :; }', 'eval() { :; }']],
  ['functions that come from a file', ['. <(echo "pri""ntf() { :; }; tr""ap() { :; }")']],
])('a shell answers with %s', async (_, commands) => {
  const { shell } = await localShell({ lookAside: true })
  await shell.cmd(commands)
  for (let i = 0; i < 2; i++) {
    const { outputs, steps } = await shell.cmd(['echo $((40 + 2))', '(exit 7)', 'echo $?'])
    expect(outputs).toEqual(['42\n', '', '7\n'])
    expect(steps[1]?.exitCode).toBe(7)
  }
})

test.each([
  ['vi', ['TERM=xterm', 'set -o vi']],
  ['emacs', ['set -o emacs', 'TERM=xterm', 'true']],
  ['a file', ['TERM=xterm', '. <(echo set -o vi)']],
  ['a shell of its own', ['TERM=xterm bash --norc --noprofile', 'PS1=']],
])('a shell that edits its lines, by %s, prints nothing into an output', async (_, commands) => {
  const { shell } = await localShell({ lookAside: true })
  await shell.cmd(commands)
  for (let i = 0; i < 2; i++) {
    const { outputs } = await shell.cmd(['echo one', 'true', 'echo $((1 + 1))'])
    expect(outputs).toEqual(['one\n', '', '2\n'])
  }
})

test('a shell that ends at a failure lives when it is asked whether a command is whole', async () => {
  const { shell } = await localShell({ respawn: true })
  await shell.cmd(['trap "echo failed" ERR', 'set -e', 'kept=1'])
  await expect(shell.cmd('cat <<EOF')).rejects.toThrow(/waits for the rest/)
  expect((await shell.cmd('echo $kept')).output).toBe('1\n')
  expect(shell.console.text).not.toContain('failed')
})

test('a shell that ends before the whole of a line was typed is told', async () => {
  const { shell, typed, feed } = await toldShell()
  const running = shell.cmd(`echo ${'long'.repeat(1000)}`)
  await soon()
  expect(typed).toHaveLength(1)
  feed(banner(78))
  await expect(running).rejects.toThrow(/the shell ended/)
  expect(typed.slice(1)).toEqual([expect.stringContaining(':$$')])
})

describe('the echo of a terminal is no output', () => {
  test.each([
    ['in raw mode', ['stty raw', 'stty echo']],
    ['without lines', ['stty -icanon echo']],
    ['without lines, and control characters as they are', ['stty -icanon -echoctl echo']],
    ['that begins to have no lines', ['stty echo', 'stty -icanon', 'stty -isig']],
    ['that is raw with an end of line of its own', ['stty raw', 'stty echo opost onlcr']],
    ['that is as a login leaves it', ['stty sane']],
  ])('%s', async (_, commands) => {
    const { shell } = await localShell()
    await shell.cmd(commands)
    for (let i = 0; i < 2; i++) {
      const { outputs } = await shell.cmd(['echo one', 'true', 'echo $((1 + 1))'])
      expect(outputs).toEqual(['one\n', '', '2\n'])
    }
  })
})
