import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { CommandTimeoutError, InfrastructureError, UsageError } from '../../src/errors.ts'
import { hostExec, hostTerminal } from '../../src/fleet/host-exec.ts'
import type { ExecOptions } from '../../src/guest-protocol/exec.ts'
import type { Host } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { poll } from '../../src/wait.ts'
import { untilGone } from '../support/processes.ts'
import { stopTime } from '../support/stop-time.ts'
import { withScope } from '../support/with-scope.ts'

const dut = { host: localHost(), name: 'dut0', dir: '/suite' }
const exec = (command: string, options?: ExecOptions) => hostExec(dut, command, options)

describe('a command on the DUT', () => {
  test.each<[string, ExecOptions, { stdout: string; stderr?: string; exitCode?: number }]>([
    ['echo a; echo b >&2; echo c', {}, { stdout: 'a\nb\nc\n' }],
    ['echo a; echo b >&2', { stderr: 'apart' }, { stdout: 'a\n', stderr: 'b\n' }],
    ['exit 3', {}, { stdout: '', exitCode: 3 }],
    ['kill -TERM $$', {}, { stdout: '', exitCode: 143 }],
    ['pwd; echo $X', { cwd: '/proc', env: { X: "it's" } }, { stdout: "/proc\nit's\n" }],
    ['cat', { input: 'in' }, { stdout: 'in' }],
    ['cat; echo end', {}, { stdout: 'end\n' }],
    ['for i in 1 2; do\n  echo $i\ndone # end', {}, { stdout: '1\n2\n' }],
    ['cat <<EOF\n$((6*7))\nEOF', {}, { stdout: '42\n' }],
    ['[[ $BASH_VERSION ]] && echo bash', {}, { stdout: 'bash\n' }],
    ['echo $VITEST_DUT_SUITE $X', { env: { X: 'x' } }, { stdout: '/suite x\n' }],
  ])('%j with %j', async (command, options, wanted) => {
    const result = await exec(command, options)
    expect(result).toMatchObject({ stderr: '', exitCode: 0, ...wanted })
    expect(Buffer.from(result.stdoutBytes).toString()).toBe(result.stdout)
    expect(result.durationMs).toBeGreaterThan(0)
  })

  const WILD = Uint8Array.from({ length: 256 }, (_, i) => i)

  test.each<[string, ExecOptions, number[]]>([
    ["printf '\\377\\376\\000a'", {}, [255, 254, 0, 97]],
    ['cat', { input: WILD }, [...WILD]],
    ["printf '\\357\\273\\277x'; printf '\\303' >&2", { stderr: 'apart' }, [239, 187, 191, 120]],
    ["printf '\\303'; printf '\\274'", {}, [0xc3, 0xbc]],
    ["printf 'a\\r\\n'", {}, [97, 13, 10]],
  ])('%s gives its bytes', async (command, options, bytes) => {
    expect([...(await exec(command, options)).stdoutBytes]).toEqual(bytes)
  })

  test('may print 150 MB, whatever they are, and its status is its own', async () => {
    const { stdoutBytes, exitCode } = await exec('head -c 150M /dev/zero; exit 3')
    expect(stdoutBytes).toHaveLength(150 * 2 ** 20)
    expect(exitCode).toBe(3)
  })

  test.each<[string, ExecOptions, string]>([
    ['head -c 3M /dev/zero; exit 3', {}, 'status 3, and printed 3M to stdout'],
    ['head -c 3M /dev/zero; exit 3', { check: true }, 'status 3, and printed 3M to stdout'],
    ['head -c 3M /dev/zero >&2', { stderr: 'apart' }, 'status 0, and printed 3M to stderr'],
  ])('that prints too much, %j with %j, is an error with both', async (command, options, what) => {
    const error = await exec(command, { ...options, maxOutput: '1M' }).catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain(`${what}, more than maxOutput (1M)`)
    expect(error.hint).toContain('{ stdout: { file:')
    expect(error.message.length).toBeLessThan(1000)
  })

  test('that prints for ever is late, not too large', async () => {
    const error = await exec('yes', { maxOutput: '1M', timeout: '300ms' }).catch((e) => e)
    expect(error).toBeInstanceOf(CommandTimeoutError)
    expect(error.message).toContain('| y\n')
    expect(error.message.length).toBeLessThan(1000)
  })

  test('may have its output in a file', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'host-exec-')), 'out')
    onTestFinished(() => rm(dirname(file), { recursive: true }))
    const options = { stdout: { file }, maxOutput: '1M' }
    const result = await exec('head -c 3M /dev/zero; echo end; exit 3', options)
    expect(result).toMatchObject({ stdout: '', exitCode: 3 })
    expect((await stat(file)).size).toBe(3 * 2 ** 20 + 4)
  })

  test('whose file cannot be opened does not run', async () => {
    const mark = `/tmp/host-exec-${crypto.randomUUID()}`
    const running = exec(`touch ${mark}`, { stdout: { file: '/nowhere/out' } })
    await expect(running).rejects.toThrow('the file for the output, /nowhere/out, cannot be opened')
    expect((await exec(`ls ${mark}`)).exitCode).toBe(2)
  })

  test('with a NUL is refused', async () => {
    await expect(exec('echo a\0b')).rejects.toThrow(UsageError)
  })

  test('that is checked rejects on a status, with what it printed', async () => {
    const error = await exec('echo no such bridge >&2; exit 2', { check: true }).catch((e) => e)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(/^dut0: "echo .*" ended with status 2 \(after .*\)\n/)
    expect(error.message).toContain('| no such bridge')
    expect((await exec('true', { check: true })).exitCode).toBe(0)
  })

  test('that is late is killed with its children, and what it printed is told', async () => {
    const both = Promise.withResolvers<void>()
    let printed = ''
    const run: Host['run'] = (file, args, options) => {
      const onOutput = (text: string) => {
        options?.onOutput?.(text)
        printed += text
        if (/pid .*\npid .*\n/.test(printed)) both.resolve()
      }
      return dut.host.run(file, args, { ...options, onOutput })
    }
    stopTime()
    const command = 'echo pid $$; tail -f /dev/null & echo pid $!; wait'
    const host = { ...dut.host, run }
    const running = hostExec({ ...dut, host }, command, { timeout: '500ms' }).catch((e) => e)
    await both.promise
    vi.advanceTimersByTime(500)
    vi.useRealTimers()
    const error = await running
    expect(error).toBeInstanceOf(CommandTimeoutError)
    expect(error.message).toMatch(/^dut0: ".*" did not end in time \(after .*\)\n/)
    const pids = [...error.message.matchAll(/\| pid (\d+)/g)].map(([, pid]) => Number(pid))
    expect(pids).toHaveLength(2)
    for (const pid of pids) await untilGone(pid)
  })

  test.each(['its signal', 'its test'])('ends with %s', async (who) => {
    const stop = new AbortController()
    const { signal } = stop
    const run = () => exec('tail -f /dev/null', who === 'its signal' ? { signal } : {})
    const running = who === 'its signal' ? run() : withScope(signal, run)
    stop.abort(new Error('over'))
    await expect(running).rejects.toThrow('over')
  })

  test('with a bad timeout is refused before it runs', async () => {
    const file = `/tmp/host-exec-${crypto.randomUUID()}`
    const running = exec(`touch ${file}`, { timeout: 5 })
    await expect(running).rejects.toThrow(UsageError)
    expect((await exec(`ls ${file}`)).exitCode).toBe(2)
  })
})

describe('a program of the DUT on a terminal', () => {
  test.each<[string, string | string[], string]>([
    ['a shell command', 'test -t 1 && echo $((6*7))', '42\r\n'],
    ['a list of words, which no shell looks at', ['printf', '%s|', '$x', 'a b'], '$x|a b|'],
  ])('is %s', async (_, command, wanted) => {
    const terminal = hostTerminal(dut, command)
    let printed = ''
    terminal.onData((data) => {
      printed += Buffer.from(data)
    })
    expect(await terminal.exited).toBe(0)
    expect(printed).toBe(wanted)
  })

  test('is closed with everything on it', async () => {
    const terminal = hostTerminal(dut, 'tail -f /dev/null & echo $!.; wait')
    let printed = ''
    terminal.onData((data) => {
      printed += Buffer.from(data)
    })
    await poll(() => printed.includes('.') || undefined, { timeoutMs: 5000 })
    terminal.close()
    expect(await terminal.exited).toBe(137)
    await untilGone(Number.parseInt(printed, 10))
  })
})
