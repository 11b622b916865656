import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import { localHost } from '../../src/host/local.ts'
import { openOutputs } from '../../src/output.ts'
import { poll } from '../../src/wait.ts'
import { isRunning, untilGone } from '../support/processes.ts'

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

  test('gives bytes that are no text as what they are shown as', async () => {
    expect((await sh("printf '\\377a\\000'")).stdout).toBe('\ufffda\0')
  })

  test.each([
    [
      'a child that prints soon after its end',
      '(while [ -d /proc/$$ ]; do :; done; echo late) & echo hi',
      'hi\nlate\n',
    ],
    ['no child that prints later', '(sleep 20; echo late) & echo hi', 'hi\n'],
    ['no child that keeps only one stream', '(sleep 20 >/dev/null) & echo hi', 'hi\n'],
  ])('is heard with %s', async (_, script, stdout) => {
    const startedAt = performance.now()
    expect((await sh(script)).stdout).toBe(stdout)
    expect(performance.now() - startedAt).toBeLessThan(10_000)
  })

  test('does not end a child of its own that writes on', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'run-'))
    onTestFinished(() => rm(dir, { recursive: true }))
    const go = join(dir, 'go')
    const wait = `until [ -e ${go} ]; do read -t 0.05 _ <>/dev/ptmx; done`
    const child = `(${wait}; echo late; echo later; echo $? >${dir}/status)`
    expect((await run('bash', ['-c', `${child} & echo hi`])).stdout).toBe('hi\n')
    await writeFile(go, '')
    expect(await poll(() => readIfThere(`${dir}/status`), { timeoutMs: 5000 })).toBe('0\n')
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

const readIfThere = async (path: string) =>
  (await readFile(path, 'utf8').catch(() => '')) || undefined

describe('a program that prints more than there is room for', () => {
  test.each([
    ['stdout', 'head -c 3M /dev/zero; exit 3'],
    ['stderr', 'head -c 3M /dev/zero >&2; exit 3'],
  ])('on %s rejects with its true status and the limit', async (stream, script) => {
    const outputs = openOutputs({ maxOutput: '1M' })
    expect(await sh(script, { outputs })).toMatchObject({ exitCode: 3, stdout: '' })
    expect(outputs.overLimit()).toBe(`printed 3M to ${stream}, more than maxOutput (1M)`)
  })

  test('is ended where its output cannot be written', async () => {
    const outputs = openOutputs({ stdout: { file: '/dev/full' } })
    await expect(sh('yes', { outputs })).rejects.toThrow('/dev/full, cannot be written: ENOSPC')
  })
})

describe('a program that cannot be run', () => {
  test('because its words are too long is an error', async () => {
    const error = await sh(`: ${'x'.repeat(200_000)}`).catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(/^sh could not be started: .*E2BIG/)
  })

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
    expect(isRunning(process.pid)).toBe(true)
  })
})
