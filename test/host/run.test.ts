import { describe, expect, test } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import { localHost } from '../../src/host/local.ts'
import { isAlive, untilGone } from './processes.ts'

const { run } = localHost()
const sh = (script: string, options = {}) => run('sh', ['-c', script], options)

describe('a program that is run', () => {
  test.each([
    ['a status', 'exit 3', { exitCode: 3, stdout: '', stderr: '' }],
    ['both streams', 'echo out; echo err >&2', { exitCode: 0, stdout: 'out\n', stderr: 'err\n' }],
    ['no final newline', 'printf a', { exitCode: 0, stdout: 'a', stderr: '' }],
    ['its last newlines', "printf 'a\\n\\n'", { exitCode: 0, stdout: 'a\n\n', stderr: '' }],
    ['a signal', 'kill -TERM $$', { exitCode: 143, signal: 'SIGTERM', stdout: '', stderr: '' }],
    ['a status of 127 of its own', 'exit 127', { exitCode: 127, stdout: '', stderr: '' }],
  ])('gives %s', async (_, script, result) => {
    expect(await sh(script)).toEqual(result)
  })

  test('is given words, which no shell looks at', async () => {
    const words = ['$HOME', 'a b', '"', "'", '*', '', '-n', ';true', 'ž\n漢']
    const { stdout } = await run('printf', ['<%s>', ...words])
    expect(stdout).toBe(words.map((word) => `<${word}>`).join(''))
  })

  test('gets its input, folder and environment, and the host’s own environment too', async () => {
    const { stdout } = await sh('cat; pwd; echo "$DUT_X"; test -n "$PATH" && echo path', {
      input: 'in\n',
      cwd: '/proc',
      env: { DUT_X: 'x y' },
    })
    expect(stdout).toBe('in\n/proc\nx y\npath\n')
  })

  test('has an empty standard input where none is given, and takes bytes', async () => {
    expect((await sh('cat; echo end')).stdout).toBe('end\n')
    const input = Uint8Array.of(0, 255, 10, 13)
    expect((await sh('od -An -tx1', { input })).stdout.trim()).toBe('00 ff 0a 0d')
  })

  test('may print a lot', async () => {
    const { stdout } = await sh('seq 1 400000')
    expect(stdout.length).toBe(2_688_895)
  })

  test('is heard while it runs', async () => {
    const heard: string[] = []
    const stop = new AbortController()
    const running = sh('echo one; echo two >&2; exec tail -f /dev/null', {
      signal: stop.signal,
      onOutput: (text: string) => {
        heard.push(text)
        if (heard.join('').length === 8) stop.abort(new Error('heard'))
      },
    })
    await expect(running).rejects.toThrow('heard')
    expect(heard.join('')).toMatch(/one\n/)
    expect(heard.join('')).toMatch(/two\n/)
  })
})

describe('a program that cannot be run', () => {
  test('because it is not there is an error that names it and what to do', async () => {
    const error = await run('no-such-program', ['x']).catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain('no-such-program is not installed on this machine')
    expect(error.message).toContain('→ on Debian: apt-get install no-such-program')
  })

  test('because its folder is not there is an error, not a status', async () => {
    const error = await run('true', [], { cwd: '/no/such/folder' }).catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain('true could not be started')
    expect(error.message).toContain('/no/such/folder')
  })
})

describe('a program whose signal is aborted', () => {
  test('before its start is not started', async () => {
    const signal = AbortSignal.abort(new Error('too late'))
    await expect(sh('echo x', { signal })).rejects.toThrow('too late')
  })

  test.each([
    ['one that ends by itself', 'echo $$; exec tail -f /dev/null'],
    ['one that ignores SIGTERM', 'trap "" TERM; echo $$; while :; do read x </dev/zero; done'],
    ['one that has children', 'tail -f /dev/null & echo $!; wait'],
    ['one whose child keeps its output open', 'echo $$; tail -f /dev/null; true'],
  ])('is gone with its children: %s', async (_, script) => {
    const stop = new AbortController()
    let pid = 0
    const startedAt = performance.now()
    const running = sh(script, {
      signal: stop.signal,
      onOutput: (text: string) => {
        pid = Number(text)
        stop.abort(new Error('stopped'))
      },
    })
    await expect(running).rejects.toThrow('stopped')
    expect(performance.now() - startedAt).toBeLessThan(5000)
    expect(pid).toBeGreaterThan(1)
    await untilGone(pid)
    expect(await isAlive(process.pid)).toBe(true)
  })
})
