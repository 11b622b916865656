import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Pty, PtyOptions } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { poll, turn, waitFor } from '../../src/wait.ts'
import { untilGone } from '../support/processes.ts'

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

/** Twenty times what a terminal has room for, as lines. */
const PASTE = Array.from({ length: 20_000 }, (_, i) => `${String(i).padStart(19, '0')}\n`).join('')

describe('what is typed faster than it is read', () => {
  const stopped = (then: string) => sh(`stty raw -echo; echo ready; kill -s STOP $$; ${then}`)

  test('comes whole and in order', async () => {
    const { pty, until, text } = stopped(`head -c ${PASTE.length} | sha256sum`)
    await until('ready')
    for (let at = 0; at < PASTE.length; at += 3000) pty.write(PASTE.slice(at, at + 3000))
    pty.kill('SIGCONT')
    await exit(pty)
    expect(text()).toContain(createHash('sha256').update(PASTE).digest('hex'))
  })

  test('can be taken back where there is no room for it yet', async () => {
    const { pty, until, text } = stopped("sed '/END/q' | wc -c")
    await until('ready')
    pty.write(PASTE)
    const back = Buffer.from(pty.takeBack()).toString()
    expect(back.length).toBeGreaterThan(PASTE.length / 2)
    expect(PASTE.endsWith(back)).toBe(true)
    expect(pty.takeBack()).toHaveLength(0)
    pty.write('END\n')
    pty.kill('SIGCONT')
    await exit(pty)
    expect(text()).toContain(String(PASTE.length - back.length + 4))
  })

  test('goes nowhere else when the program ends, whoever has the number of its descriptor then', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'pty-'))
    onTestFinished(() => rmSync(dir, { recursive: true }))
    for (let round = 0; round < 20; round++) {
      const { pty, until } = sh('echo ready; exec tail -f /dev/null')
      await until('ready')
      pty.write(PASTE)
      pty.kill()
      await exit(pty)
      const files = Array.from({ length: 10 }, (_, i) => openSync(join(dir, `${i}`), 'a+'))
      for (let i = 0; i < 50; i++) await turn()
      const sizes = files.map((fd) => fstatSync(fd).size)
      for (const fd of files) closeSync(fd)
      expect(sizes).toEqual(files.map(() => 0))
    }
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

describe('standard error apart from the terminal', () => {
  /** Records what came, in order, and of which kind. */
  function openApart(script: string) {
    const { pty } = sh(script, { stderr: 'apart' })
    const heard: [kind: 'out' | 'err', text: string][] = []
    pty.onData((data) => heard.push(['out', `${Buffer.from(data)}`]))
    pty.onStderr((data) => heard.push(['err', `${Buffer.from(data)}`]))
    const all = (wanted: 'out' | 'err') =>
      heard.flatMap(([kind, text]) => (kind === wanted ? [text] : [])).join('')
    return { pty, heard, all }
  }

  test('is no terminal, and all of it comes', async () => {
    const { pty, all } = openApart('test -t 1 && ! test -t 2 && echo yes; seq 1 100000 >&2; exit 3')
    expect(await exit(pty)).toEqual({ exitCode: 3 })
    expect(all('out')).toBe('yes\r\n')
    expect(all('err').split('\n')).toHaveLength(100_001)
  })

  test('comes before what the terminal is given later', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'apart-'))
    onTestFinished(() => rmSync(dir, { recursive: true }))
    const done = join(dir, 'done')
    const script = `echo ready; read -r x; echo one; echo error >&2; echo two; : >${done}; read -r x`
    const { pty, heard, all } = openApart(script)
    await poll(() => (all('out').includes('ready') ? true : undefined), { timeoutMs: 5000 })
    pty.write('\n')
    while (!existsSync(done)); // nothing is read meanwhile, so that all of it is there at once
    pty.write('\n')
    await exit(pty)
    const at = (text: string) => heard.findIndex(([, piece]) => piece.includes(text))
    expect(at('error')).toBeGreaterThan(0)
    expect(at('error')).toBeLessThan(at('two'))
  })

  test('leaves no file, and none of our descriptors', async () => {
    const open = () => readdirSync('/proc/self/fd').length
    const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith('dut-stderr-'))
    const [before, foldersBefore] = [open(), folders()]
    for (let i = 0; i < 5; i++) await exit(openApart('echo x >&2').pty)
    await poll(() => (open() <= before ? true : undefined), { timeoutMs: 5000 })
    expect(folders()).toEqual(foldersBefore)
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
