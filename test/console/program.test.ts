import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Program, type ProgramContext, type SpawnOptions } from '../../src/console/program.ts'
import { CutPrompt } from '../../src/console/prompt.ts'
import { CommandTimeoutError, GuestError, InfrastructureError } from '../../src/errors.ts'
import { hostTerminal } from '../../src/fleet/host-exec.ts'
import { localHost } from '../../src/host/local.ts'
import { Lifeline } from '../../src/lifeline.ts'
import { turn } from '../../src/wait.ts'
import { fedStream } from '../support/fed-stream.ts'
import { stopTime } from '../support/stop-time.ts'

/** A program that reads lines at a prompt and does what they say, with the terminal's echo. */
const LISTENER = `
printf 'welcome\\n> '
while IFS= read -r line; do
  eval "$line"
  printf '> '
done`

function start(
  script: string,
  options: SpawnOptions,
  context: ProgramContext = { dut: 'dut0' },
): Program {
  const terminal = hostTerminal({ host: localHost(), dir: '/' }, ['bash', '-c', script], options)
  const program = new Program(terminal, 'listener', options, context)
  onTestFinished(() => program.close())
  return program
}

async function spawn(
  script = LISTENER,
  options: SpawnOptions = { prompt: '> ' },
  context?: ProgramContext,
) {
  const program = start(script, options, context)
  await program.ready(options)
  return program
}

describe('lines typed into a program', () => {
  test('give what it printed, without echo and prompt', async () => {
    const program = await spawn()
    const { outputs, output, steps } = await program.cmd(['echo one', 'true', 'printf "a\\nb\\n"'])
    expect(outputs).toEqual(['one\n', '', 'a\nb\n'])
    expect(output).toBe('a\nb\n')
    expect(steps[0]).toMatchObject({ command: 'echo one', expect: '' })
  })

  test('give the expected text too, up to its end', async () => {
    const program = await spawn()
    const { outputs } = await program.cmd(['echo port 7 is up; read -r', 'go on'], [/port \d/, ''])
    expect(outputs[0]).toBe('port 7')
  })

  test('of a program without a prompt are typed and not waited for', async () => {
    const program = await spawn('while read -r x; do echo "<$x>"; done', {})
    expect((await program.cmd('a')).output).toBe('')
    expect(await program.expect('<a>', '5s')).toContain('<a>')
  })

  test('that print without end are an error before that is too large for memory', async () => {
    const { stream, feed } = fedStream()
    const terminal = { ...stream, exited: new Promise<number>(() => {}), close: () => {} }
    const program = new Program(terminal, 'listener', { prompt: '> ' }, { vm: 'vm0' })
    const running = program.cmd('yes', 'never', '50s').catch((error) => error)
    await turn()
    for (let megabytes = 0; megabytes < 70; megabytes++) feed('y\n'.repeat(2 ** 19))
    const error = await running
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toContain('vm0: "yes" in listener printed more than 64M, which is the')
    expect(error.hint).toContain('a file')
    expect(error.message.length).toBeLessThan(1000)
  })

  test('from several callers come one after another', async () => {
    const program = await spawn()
    const all = Array.from({ length: 5 }, (_, i) => program.cmd([`echo ${i}a`, `echo ${i}b`]))
    const results = await Promise.all(all)
    expect(results.map(({ outputs }) => outputs.join(''))).toEqual(
      Array.from({ length: 5 }, (_, i) => `${i}a\n${i}b\n`),
    )
  })

  test('of a program that echoes nothing lose nothing', async () => {
    const program = await spawn(`stty -echo; ${LISTENER}`)
    expect((await program.cmd('echo x')).output).toBe('x\n')
  })
})

describe('a line whose time is over', () => {
  test('names the program, the line, what was not printed, and what was', async () => {
    const program = await spawn()
    stopTime()
    const late = program.cmd('echo working; read -r', '', '200ms').catch((error) => error)
    await program.expect('\nworking\n')
    vi.advanceTimersByTime(200)
    const error = await late
    expect(error).toBeInstanceOf(CommandTimeoutError)
    expect(error.message).toMatch(
      /^dut0: "echo working; read -r" in listener: "> " was not printed/,
    )
    expect(error.message).toContain('| working')
  })

  test('has its prompt awaited by the next, so that no output is mixed', async () => {
    const program = await spawn()
    const late = program.cmd('echo first; read -r; echo late', '', '200ms')
    await expect(late).rejects.toThrow('in time')
    program.console.write('\n')
    expect((await program.cmd('echo second', '', '5s')).output).toBe('second\n')
  })

  test('although its prompt has come does not have it awaited again', async () => {
    const program = await spawn()
    const other = program.cmd('echo this', 'that', '200ms')
    await expect(other).rejects.toThrow('"that" was not printed in time')
    expect((await program.cmd('echo next', '', '2s')).output).toBe('next\n')
  })

  test('ends at once with its signal', async () => {
    const program = await spawn()
    const stop = new AbortController()
    const running = program.cmd('echo started; read -r', '', '60s', { signal: stop.signal })
    running.catch(() => {})
    await program.expect('started\n', '5s')
    stop.abort(new Error('the test is over'))
    await expect(running).rejects.toThrow('the test is over')
  })
})

describe('a program whose threads print at any moment', () => {
  /** Between any two characters of echo and prompt it has the line of another thread. */
  const TALKER = `
stty -echo
say() { local i; for ((i = 0; i < \${#1}; i++)); do ((i)) && printf '\\nPort %s: is up\\n' $i; printf %s "\${1:i:1}"; done; }
say '> prompt> '
while IFS= read -r line; do
  say "$line"; echo
  eval "$line"
  echo logged >&2
  say '> prompt> '
done`
  const prompt = new CutPrompt('> prompt> ', 'its prompt')

  test('gives its answer alone, and what it wrote to standard error beside that', async () => {
    const program = await spawn(TALKER, { prompt, stderr: 'apart' })
    for (const line of ['echo one', 'echo two; echo no >&2', 'true']) {
      const { output, steps } = await program.cmd(line, '', '10s')
      expect(output).toBe(/echo (\w+)/.exec(line)?.[1]?.concat('\n') ?? '')
      expect(steps[0]?.stderr).toBe(line.includes('no') ? 'no\nlogged\n' : 'logged\n')
    }
    expect(program.console.text).toContain('logged\n')
  })

  test('has its prompt named in words when that does not come', async () => {
    const program = await spawn(TALKER, { prompt, stderr: 'apart' })
    const error = await program.cmd('read -r', '', '200ms').catch((error) => error)
    expect(error.message).toMatch(/"read -r" in listener: its prompt was not printed in time/)
    program.console.write('\n')
    expect((await program.cmd('echo next', '', '10s')).output).toBe('next\n')
  })

  test('has an expected text looked for on the terminal only', async () => {
    const program = await spawn(TALKER, { prompt, stderr: 'apart' })
    const { output } = await program.cmd('echo here >&2; echo and here', 'here', '10s')
    expect(output).toContain('and here')
  })
})

describe('the end of a program', () => {
  test('has its status, and fails what waits for its output', async () => {
    const program = await spawn()
    const error = await program.cmd('echo bye; exit 3').catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(/^dut0: listener has ended with status 3/)
    expect(error.message).toContain('| bye')
    expect(await program.exited).toBe(3)
    await expect(program.cmd('echo')).rejects.toThrow('ended with status 3')
  })

  test('in a guest is the guest’s error', async () => {
    const program = await spawn(LISTENER, { prompt: '> ' }, { vm: 'vm0', dut: 'dut0' })
    const error = await program.cmd('exit 1').catch((error) => error)
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toMatch(/^dut0\/vm0: /)
  })

  test('before its first prompt fails at once, with what it said', async () => {
    const options = { prompt: '> ', timeout: '60s' }
    const starting = spawn('echo no such device; exit 2', options)
    await expect(starting).rejects.toThrow(/ended with status 2[\s\S]*\| no such device/)
  })

  test('by Ctrl-C, or by closing it, as often as one likes', async () => {
    const interrupted = await spawn('trap "exit 4" INT; echo ready; while :; do read -r; done', {
      prompt: 'ready',
    })
    interrupted.interrupt()
    expect(await interrupted.exited).toBe(4)
    const program = await spawn()
    expect(program.closing).toBe(false)
    await Promise.all([program.close(), program.close()])
    await program.close()
    expect(program.closing).toBe(true)
    expect(await program.exited).toBe(137)
  })

  test('comes with the end of the machine that it runs on', async () => {
    const life = new Lifeline()
    const program = await spawn(LISTENER, { prompt: '> ' }, { life })
    const running = program.cmd('read -r')
    life.end(new Error('QEMU is gone'))
    await expect(running).rejects.toThrow('QEMU is gone')
  })
})

test('a first prompt that does not come is an error that names it', async () => {
  const program = start('echo starting; read -r', { prompt: /^> /m })
  await program.expect('starting')
  const ready = program.ready({ timeout: '200ms' })
  await expect(ready).rejects.toThrow(/\/\^> \/m was not printed[\s\S]*\| starting/)
})
