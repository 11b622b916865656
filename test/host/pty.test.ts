import { describe, expect, onTestFinished, test } from 'vitest'
import type { Pty, PtyOptions } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { poll, waitFor } from '../../src/wait.ts'
import { untilGone } from './processes.ts'

/** A program on a terminal, and all that it prints; gone with the test. */
function open(file: string, args: readonly string[], options?: PtyOptions) {
  const pty = localHost().openPty(file, args, options)
  const pieces: Uint8Array[] = []
  pty.onData((data) => pieces.push(data))
  onTestFinished(async () => {
    pty.kill()
    await pty.exited
  })
  const text = () => Buffer.concat(pieces).toString()
  const until = (wanted: string) =>
    poll(() => (text().includes(wanted) ? true : undefined), {
      timeoutMs: 10_000,
      onTimeout: () => new Error(`not printed: ${wanted}; but: ${text()}`),
    })
  return { pty, pieces, text, until }
}
const sh = (script: string, options?: PtyOptions) => open('sh', ['-c', script], options)
const exit = (pty: Pty) => waitFor(pty.exited, { timeoutMs: 10_000 })

describe('a program on a terminal', () => {
  test('has a terminal that it is typed into', async () => {
    const { pty, until, text } = sh(
      'test -t 0 && test -t 1 && test -t 2 && echo tty; read x; echo "<$x>"',
    )
    await until('tty')
    pty.write('žluť\n')
    expect(await exit(pty)).toEqual({ exitCode: 0 })
    expect(text()).toContain('<žluť>\r\n')
  })

  test('gets bytes as they are, and gives bytes', async () => {
    const { pty, pieces, until } = sh('stty raw -echo; echo ready; head -c 4')
    await until('ready')
    pty.write(Uint8Array.of(0xff, 0, 0x80, 10))
    await exit(pty)
    expect([...Buffer.concat(pieces)].slice(-4)).toEqual([0xff, 0, 0x80, 10])
    expect(pieces[0]).toBeInstanceOf(Uint8Array)
  })

  test('is wide enough that nothing wraps, or as wide as wanted', async () => {
    const wide = sh('stty size; echo $TERM')
    await exit(wide.pty)
    expect(wide.text()).toBe('50 1000\r\ndumb\r\n')
    const narrow = sh('stty size', { cols: 80, rows: 24 })
    await exit(narrow.pty)
    expect(narrow.text()).toBe('24 80\r\n')
  })

  test('gets its folder, and its environment beside the host’s', async () => {
    const { pty, text } = sh('pwd; echo $X; test -n "$PATH" && echo path', {
      cwd: '/proc',
      env: { X: 'a b' },
    })
    await exit(pty)
    expect(text()).toBe('/proc\r\na b\r\npath\r\n')
  })

  test('has given out all it printed when it has ended', async () => {
    const { pty, text } = sh('seq 1 100000')
    await exit(pty)
    expect(text().length).toBe(688_895)
    expect(text()).toMatch(/\r\n100000\r\n$/)
  })
})

describe('the end of a program on a terminal', () => {
  test.each([
    ['a status', 'exit 3', { exitCode: 3 }],
    ['a signal of its own', 'kill -SEGV $$', { exitCode: 139, signal: 'SIGSEGV' }],
  ])('gives %s', async (_, script, wanted) => {
    expect(await exit(sh(script).pty)).toEqual(wanted)
  })

  test.each([
    [undefined, { exitCode: 137, signal: 'SIGKILL' }],
    ['SIGTERM', { exitCode: 143, signal: 'SIGTERM' }],
    ['SIGINT', { exitCode: 130, signal: 'SIGINT' }],
  ] as const)('by %s', async (signal, wanted) => {
    const { pty, until } = sh('echo ready; exec tail -f /dev/null')
    await until('ready')
    pty.kill(signal)
    expect(await exit(pty)).toEqual(wanted)
    await untilGone(pty.pid)
  })

  test('ends the children that it left on the terminal', async () => {
    const { pty, text, until } = sh('tail -f /dev/null & echo child $!.; wait')
    await until('.')
    pty.kill()
    await exit(pty)
    await untilGone(Number(/child (\d+)/.exec(text())?.[1]))
  })

  test('makes typing and killing do nothing', async () => {
    const { pty } = sh('exit 0')
    await exit(pty)
    pty.write('x\n')
    pty.kill()
    pty.kill('SIGTERM')
    expect(await exit(pty)).toEqual({ exitCode: 0 })
  })

  test('of one that is not there says so on the terminal', async () => {
    const { pty, text } = open('no-such-program', [])
    expect(await exit(pty)).toEqual({ exitCode: 127 })
    expect(text()).toContain('no-such-program')
  })
})

test('a program that has only just been forked can be killed, a hundred times', async () => {
  const host = localHost()
  for (let i = 0; i < 100; i++) {
    const pty = host.openPty('sleep', ['1000'])
    pty.kill()
    await waitFor(pty.exited, { timeoutMs: 10_000 })
  }
})
