import { describe, expect, test, vi } from 'vitest'
import {
  CommandFailedError,
  CommandTimeoutError,
  GuestError,
  UsageError,
} from '../../src/errors.ts'
import { type ExecOptions, exec } from '../../src/guest-protocol/exec.ts'
import { agentPeer } from '../support/agent-peer.ts'
import { stopTime } from '../support/stop-time.ts'
import { withScope } from '../support/with-scope.ts'

type Peer = Awaited<ReturnType<typeof agentPeer>>

/** A guest whose commands print and end as told. */
async function peerThat(reply: (peer: Peer, channel: number) => void): Promise<Peer> {
  const peer = await agentPeer()
  peer.onFrame(({ type, channel }) => type === 'run' && reply(peer, channel))
  return peer
}

const silent = () => {}

describe('a command', () => {
  test('gives what it printed and how it ended', async () => {
    const peer = await peerThat(({ say, exit }, channel) => {
      say('out', channel, 'a\n')
      say('out', channel, 'b\n')
      exit(channel, 3)
    })
    const result = await exec(peer, 'x')
    expect(result).toMatchObject({ stdout: 'a\nb\n', stderr: '', exitCode: 3 })
    expect(result.durationMs).toBeGreaterThan(0)
  })

  test('gives bytes as they are, and characters that two frames share whole', async () => {
    const peer = await peerThat(({ say, exit }, channel) => {
      for (const byte of [...Buffer.from('漢'), 0xff, 0]) say('out', channel, Uint8Array.of(byte))
      exit(channel, 0)
    })
    const { stdout, stdoutBytes } = await exec(peer, 'x')
    expect([...stdoutBytes]).toEqual([...Buffer.from('漢'), 0xff, 0])
    expect(stdout).toBe('漢\ufffd\0')
  })

  test('has its two streams apart where that is wanted', async () => {
    const peer = await peerThat(({ say, exit }, channel) => {
      say('out', channel, 'out')
      say('err', channel, 'err')
      exit(channel, 0)
    })
    const result = await exec(peer, 'x', { stderr: 'apart' })
    expect(result).toMatchObject({ stdout: 'out', stderr: 'err' })
    await exec(peer, 'x')
    expect(peer.heard.filter(({ type }) => type === 'run').map(({ text }) => text)).toEqual([
      '\x01',
      '\0',
    ])
  })

  test.each<[ExecOptions, string]>([
    [{}, 'ls\n'],
    [{ cwd: '/a b' }, "cd -- '/a b' || exit\nls\n"],
    [{ env: { A: "it's", B_1: '' } }, "export A='it'\\''s'\nexport B_1=''\nls\n"],
    [{ env: { A: '1' }, cwd: '/' }, 'export A=1\ncd -- / || exit\nls\n'],
  ])('with %j is the script %j', async (options, script) => {
    const peer = await peerThat(({ exit }, channel) => exit(channel, 0))
    await exec(peer, 'ls', options)
    expect((await peer.until('script')).text).toBe(script)
  })

  test('gets its input before it runs, and none where none is given', async () => {
    const peer = await peerThat(({ exit }, channel) => exit(channel, 0))
    await exec(peer, 'cat', { input: 'to read' })
    await exec(peer, 'cat', { input: '' })
    expect(peer.heard.map(({ type }) => type)).toEqual(['script', 'input', 'run', 'script', 'run'])
    expect((await peer.until('input')).text).toBe('to read')
  })

  test('at once with others gives each its own output', async () => {
    const peer = await peerThat(({ say, exit }, channel) => {
      say('out', channel, `${channel}`)
      exit(channel, 0)
    })
    const results = await Promise.all(Array.from({ length: 10 }, () => exec(peer, 'x')))
    expect(new Set(results.map(({ stdout }) => stdout)).size).toBe(10)
  })
})

describe('a command that prints too much', () => {
  const printing = (bytes: number, status: number) =>
    peerThat(({ say, exit }, channel) => {
      for (let at = 0; at < bytes; at += 65_536) say('out', channel, Buffer.alloc(65_536, 'x\n'))
      exit(channel, status)
    })

  test.each<[ExecOptions, typeof GuestError]>([
    [{}, GuestError],
    [{ check: true }, CommandFailedError],
  ])('with %j is an error with its status and the limit', async (options, family) => {
    const peer = await printing(2 ** 21, 3)
    const error = await exec(peer, 'yes', { ...options, maxOutput: '1M' }).catch((e) => e)
    expect(error).toBeInstanceOf(family)
    expect(error.message).toContain(
      'dut0/vm0: "yes" ended with status 3, and printed 2M to stdout, more than maxOutput (1M)',
    )
    expect(error.message.length).toBeLessThan(1000)
    expect(peer.heard.some(({ type }) => type === 'signal')).toBe(false)
  })

  test('into a file is none', async () => {
    const peer = await printing(2 ** 21, 3)
    const options: ExecOptions = { stdout: { file: '/dev/null' }, maxOutput: '1M' }
    expect(await exec(peer, 'yes', options)).toMatchObject({ stdout: '', exitCode: 3 })
  })

  test('for its file is killed', async () => {
    const peer = await printing(2 ** 21, 3)
    const running = exec(peer, 'yes', { stdout: { file: '/dev/full' } })
    await expect(running).rejects.toThrow('/dev/full, cannot be written')
    await peer.until('signal')
  })
})

describe('a command that is checked', () => {
  test('rejects on a status, with what it printed', async () => {
    const peer = await peerThat(({ say, exit }, channel) => {
      say('out', channel, 'no such device\n')
      exit(channel, 19)
    })
    const error = await exec(peer, 'ip link show x\nmore', { check: true }).catch((error) => error)
    expect(error).toBeInstanceOf(CommandFailedError)
    expect(error.message).toMatch(/^dut0\/vm0: "ip link show x" ended with status 19 \(after/)
    expect(error.message).toContain('| no such device')
    expect(error.command).toBe('ip link show x\nmore')
    expect(peer.heard.some(({ type }) => type === 'signal')).toBe(false)
  })

  test('does not on 0', async () => {
    const peer = await peerThat(({ exit }, channel) => exit(channel, 0))
    await expect(exec(peer, 'true', { check: true })).resolves.toMatchObject({ exitCode: 0 })
  })
})

describe('a command that does not end', () => {
  const expectKilled = async (peer: Peer) => {
    expect((await peer.until('signal')).text).toBe('\x09')
    await peer.until('close')
  }

  test('is killed at its deadline, and what it printed is told', async () => {
    const peer = await agentPeer()
    peer.onFrame(({ type, channel, text }) => {
      if (type === 'run') peer.say('out', channel, 'working…\n')
      if (type === 'hello') peer.say('hello', 0, text)
    })
    stopTime()
    const running = exec(peer, 'make', { timeout: '100ms' }).catch((error) => error)
    await peer.agent.hello() // comes behind what was printed
    vi.advanceTimersByTime(100)
    vi.useRealTimers()
    const error = await running
    expect(error).toBeInstanceOf(CommandTimeoutError)
    expect(error.message).toContain('"make" did not end in time')
    expect(error.message).toContain('| working…')
    expect(error.hint).toContain('killed')
    await expectKilled(peer)
  })

  test.each<[string, (peer: Peer, stop: AbortController) => Promise<unknown>]>([
    ['its signal', (peer, { signal }) => exec(peer, 'x', { signal })],
    ['its test', (peer, { signal }) => withScope(signal, () => exec(peer, 'x'))],
    [
      'an alarm of its VM',
      (peer, { signal }) => {
        signal.addEventListener('abort', () => peer.life.alarm(signal.reason))
        return exec(peer, 'x')
      },
    ],
  ])('is killed when %s says so', async (_, run) => {
    const peer = await peerThat(silent)
    const stop = new AbortController()
    const running = run(peer, stop)
    running.catch(() => {})
    await peer.until('run')
    const reason = new Error('enough')
    stop.abort(reason)
    await expect(running).rejects.toBe(reason)
    await expectKilled(peer)
  })

  const gone = new GuestError('the agent is gone')
  test.each<[string, (peer: Peer, channel: number) => void, RegExp]>([
    ['the guest has confirmed it', (peer, channel) => peer.exit(channel, 137), /^it was killed in/],
    ['the guest says nothing', () => {}, /^the guest has not said so far that it was killed/],
    [
      'the agent has gone',
      ({ agent }) => agent.lose(() => gone),
      /^the agent in the guest has ended/,
    ],
    [
      'something is found that keeps all from moving',
      ({ life }) => {
        life.onDiagnose = async () => 'it is frozen'
      },
      /^it is frozen$/,
    ],
  ])('is said to be killed as far as that is known: %s', async (_, answer, hint) => {
    const peer = await agentPeer()
    peer.onFrame(({ type, channel }) => {
      if (type === 'signal') answer(peer, channel)
    })
    const error = await exec(peer, 'x', { timeout: '100ms' }).catch((error) => error)
    expect(error).toBeInstanceOf(CommandTimeoutError)
    expect(error.hint).toMatch(hint)
    expect(error.elapsedMs).toBeLessThan(1000)
  })

  test('while its machine stands still is not asked about', async () => {
    const peer = await peerThat(silent)
    peer.life.standStill({ hint: 'the VM is paused' })
    const error = await exec(peer, 'x', { timeout: '100ms' }).catch((error) => error)
    expect(error).toBeInstanceOf(CommandTimeoutError)
    expect(error.hint).toBe('the VM is paused')
  })

  test('ends at once with its agent, or with a standstill that has a cause', async () => {
    const peer = await peerThat(silent)
    const running = exec(peer, 'x')
    running.catch(() => {})
    await peer.until('run')
    peer.agent.lose(() => gone)
    await expect(running).rejects.toBe(gone)
    await expect(exec(peer, 'x')).rejects.toBe(gone)
    peer.agent.found()
    const cause = new Error('the disk is full')
    const second = exec(peer, 'y')
    second.catch(() => {})
    peer.life.standStill({ hint: 'full', cause })
    await expect(second).rejects.toBe(cause)
    await expect(exec(peer, 'z')).rejects.toBe(cause)
  })

  test('because the agent could not start it is the guest’s error', async () => {
    const peer = await peerThat(({ say }, channel) => say('fail', channel, 'out of memory'))
    const error = await exec(peer, 'x').catch((error) => error)
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toContain('dut0/vm0: the guest')
    expect(error.message).toContain('out of memory')
  })
})

describe('a call that makes no sense', () => {
  test.each<[string, unknown, ExecOptions, string]>([
    ['no string', 5, {}, 'the command is not a string'],
    ['a NUL', 'a\0', {}, 'NUL'],
    ['a bad variable', 'a', { env: { 'A B': '' } }, 'A B is no variable'],
    ['seconds', 'a', { timeout: 5 }, "write '5s'"],
  ])('because of %s is refused, and nothing is sent', async (_, command, options, message) => {
    const peer = await agentPeer()
    const error = await exec(peer, command as string, options).catch((error) => error)
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain(message)
    expect(peer.heard).toEqual([])
  })

  test('because the VM is gone is refused with the cause', async () => {
    const peer = await agentPeer()
    peer.life.end(new Error('QEMU is gone'))
    await expect(exec(peer, 'x')).rejects.toThrow('QEMU is gone')
    expect(peer.heard).toEqual([])
  })
})
