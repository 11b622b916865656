import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { GuestError, UsageError } from '../../src/errors.ts'
import { agentError } from '../../src/guest-protocol/agent-error.ts'
import { wallClock } from '../../src/time.ts'
import { poll } from '../../src/wait.ts'
import { agentPeer, type Heard } from '../support/agent-peer.ts'

describe('a sign of life', () => {
  test('is the answer with the same nonce, and says what the guest is', async () => {
    const { agent, say, onFrame } = await agentPeer()
    onFrame(({ type, text }) => {
      if (type !== 'hello') return
      say('hello', 0, 'another nonce\nversion=wrong\n')
      say('hello', 0, `${text}\nversion=1\nappend=root=/dev/vda quiet\nno fact\nempty=\n`)
    })
    expect([...(await agent.hello({ timeoutMs: 5000 }))]).toEqual([
      ['version', '1'],
      ['append', 'root=/dev/vda quiet'],
      ['empty', ''],
    ])
  })

  test('has a deadline; asked again, each has its own answer', async () => {
    const { agent, say, onFrame, heard } = await agentPeer()
    await expect(agent.hello({ timeoutMs: 20 })).rejects.toThrow('timed out')
    onFrame(({ text }) => say('hello', 0, `${text}\nnonce=${text}\n`))
    const facts = await Promise.all([agent.hello(), agent.hello()])
    const nonces = heard.map(({ text }) => text)
    expect(new Set(nonces).size).toBe(3)
    expect(facts.map((fact) => fact.get('nonce'))).toEqual(nonces.slice(1))
  })
})

describe('channels', () => {
  test('are apart: each hears its own frames, in order', async () => {
    const { agent, say, until } = await agentPeer()
    const heard: string[][] = [[], []]
    const [a, b] = heard.map((list) =>
      agent.open(({ payload }) => list.push(`${Buffer.from(payload)}`)),
    )
    a?.send('data', 'from a')
    b?.send('data', 'from b')
    const first = await until('data', ({ text }) => text === 'from a')
    const second = await until('data', ({ text }) => text === 'from b')
    expect(first.channel).not.toBe(second.channel)
    for (const text of ['1', '2', '3']) {
      say('out', first.channel, `a${text}`)
      say('out', second.channel, `b${text}`)
    }
    await poll(() => heard[1]?.[2])
    expect(heard).toEqual([
      ['a1', 'a2', 'a3'],
      ['b1', 'b2', 'b3'],
    ])
  })

  test('that are forgotten hear nothing more', async () => {
    const { agent, say, until } = await agentPeer()
    const heard: string[] = []
    const channel = agent.open(() => heard.push('forgotten'))
    const other = agent.open(() => heard.push('other'))
    channel.send('close')
    other.send('data')
    const { channel: id } = await until('close')
    channel.forget()
    say('out', id, 'late')
    say('out', 999, 'nobody’s')
    say('out', (await until('data')).channel, 'x')
    await poll(() => heard[0])
    expect(heard).toEqual(['other'])
  })

  test('cut what is longer than a frame may be', async () => {
    const { agent, heard } = await agentPeer()
    agent.open(() => {}).send('input', 'x'.repeat(150_000))
    await poll(() => (heard.length === 3 ? true : undefined), { timeoutMs: 5000 })
    expect(heard.map(({ text }) => text.length)).toEqual([65_536, 65_536, 18_928])
  })
})

interface GuestClock {
  behindMs: number
  /** How long each answer is on its way. */
  tripsMs: number[]
  /** How long the guest works on its first answer. */
  heldMs?: number
}

/** A guest with such a clock; ours goes on only while the guest works and an answer is on its way. */
async function guestWithClock({ behindMs, tripsMs, heldMs = 0 }: GuestClock) {
  const peer = await agentPeer()
  const steps: number[] = []
  let nowMs = 1e9 // in nanoseconds, still a number that is exact
  const clock = vi.spyOn(wallClock, 'now').mockImplementation(() => nowMs)
  onTestFinished(() => clock.mockRestore())
  let clockMs = -behindMs
  peer.onFrame(({ channel, type, payload }) => {
    if (type === 'clock') {
      steps.push(Number(Buffer.from(payload).readBigInt64LE()) / 1e6)
      clockMs += steps.at(-1) ?? 0
    }
    const workedMs = type === 'identify' ? heldMs : 0
    nowMs += workedMs + (tripsMs.shift() ?? 0)
    const answer = Buffer.alloc(16)
    answer.writeBigInt64LE(BigInt((nowMs + clockMs) * 1e6))
    answer.writeBigInt64LE(BigInt(workedMs * 1e6), 8)
    peer.say('clock', channel, answer)
  })
  return { ...peer, steps, errorMs: () => Math.abs(clockMs) }
}

describe('an identity', () => {
  test('is random bytes, a machine-id and the host name, in one frame', async () => {
    const { agent, heard } = await guestWithClock({ behindMs: 0, tripsMs: [] })
    const seed = Buffer.from(Array.from({ length: 64 }, (_, i) => i))
    const machineId = '0123456789abcdef0123456789abcdef'
    await agent.identify({ hostname: 'vm7', seed, machineId })
    expect(heard[0]?.type).toBe('identify')
    expect(Buffer.from(heard[0]?.payload ?? '')).toEqual(
      Buffer.concat([seed, Buffer.from(`${machineId}vm7`)]),
    )
  })

  test('has bytes and a machine-id of its own where none are given', async () => {
    const { agent, heard } = await guestWithClock({ behindMs: 0, tripsMs: [] })
    for (let i = 0; i < 2; i++) await agent.identify({ hostname: 'vm7' })
    const [a, b] = heard.filter(({ type }) => type === 'identify')
    for (const { payload } of [a, b] as [Heard, Heard]) {
      expect(Buffer.from(payload.slice(64)).toString()).toMatch(/^[0-9a-f]{32}vm7$/)
    }
    expect(a?.payload.slice(0, 64)).not.toEqual(b?.payload.slice(0, 64))
    expect(a?.payload.slice(64)).not.toEqual(b?.payload.slice(64))
  })

  test.each([
    ['a short seed', { seed: Buffer.alloc(63) }],
    ['a UUID for a machine-id', { machineId: '01234567-89ab-cdef-0123-456789abcdef' }],
  ])('with %s is refused', async (_, wrong) => {
    const { agent, heard } = await agentPeer()
    await expect(agent.identify({ hostname: 'vm7', ...wrong })).rejects.toBeInstanceOf(UsageError)
    expect(heard).toEqual([])
  })

  test('that cannot be taken is the guest’s error', async () => {
    const { agent, say, onFrame } = await agentPeer()
    onFrame(({ channel }) => say('fail', channel, 'the host name cannot be set: reason'))
    const identifying = agent.identify({ hostname: 'vm7' })
    await expect(identifying).rejects.toBeInstanceOf(GuestError)
    await expect(identifying).rejects.toThrow('the host name cannot be set: reason')
  })

  test('has a deadline', async () => {
    const { agent } = await agentPeer()
    await expect(agent.identify({ hostname: 'vm7' }, { timeoutMs: 20 })).rejects.toThrow(
      'timed out',
    )
  })
})

describe('a clock', () => {
  test.each([
    ['behind', 86_400_000],
    ['ahead', -86_400_000],
  ])('that is a day %s is read, and set by one step', async (_, behindMs) => {
    const { agent, steps, errorMs } = await guestWithClock({ behindMs, tripsMs: [] })
    await agent.setClock()
    expect(steps).toEqual([0, behindMs])
    expect(errorMs()).toBe(0)
  })

  test('is set by the shortest trip, also where the one after it was long', async () => {
    const tripsMs = [300, 60, 300, 300, 300, 300]
    const { agent, steps, errorMs } = await guestWithClock({ behindMs: 23_000, tripsMs })
    await agent.setClock()
    expect(steps.slice(0, -1)).toEqual([0, 0, 0, 0, 0])
    expect(errorMs()).toBe(30)
  })

  test('is not set by a long trip while there may be a shorter one', async () => {
    const tripsMs = [300, 240, 300, 300, 300, 200, 70]
    const { agent, errorMs } = await guestWithClock({ behindMs: 23_000, tripsMs })
    await agent.setClock()
    expect(errorMs()).toBe(35)
  })

  test('of a guest that takes its identity is set as well', async () => {
    const { agent, heard, errorMs } = await guestWithClock({ behindMs: 23_000, tripsMs: [] })
    await agent.identify({ hostname: 'vm7' })
    expect(heard[0]?.type).toBe('identify')
    expect(heard.at(-1)?.type).toBe('clock')
    expect(errorMs()).toBe(0)
  })
})

test('a clock is right at once where the guest only worked long on its answer', async () => {
  const clock = { behindMs: 23_000, tripsMs: [], heldMs: 400 }
  const { agent, steps, errorMs } = await guestWithClock(clock)
  await agent.identify({ hostname: 'vm7' })
  expect(steps).toHaveLength(1)
  expect(errorMs()).toBe(0)
})

describe('a guest that makes no sense', () => {
  test('is given up, once, with the reason', async () => {
    const { guest, broken, stream } = await agentPeer()
    guest.write('not a frame at all')
    await poll(() => broken[0], { timeoutMs: 5000 })
    guest.write('nor this')
    expect(broken.map((error) => error.message)).toEqual([expect.stringContaining('out of step')])
    expect(stream.destroyed).toBe(true)
  })

  test('or is gone is no uncaught error; what is sent then goes nowhere', async () => {
    const { agent, guest, stream } = await agentPeer()
    const channel = agent.open(() => {})
    guest.destroy()
    await poll(() => (stream.destroyed ? true : undefined), { timeoutMs: 5000 })
    channel.send('data', 'x')
    await expect(agent.hello({ timeoutMs: 10 })).rejects.toThrow('timed out')
  })
})

test('what the agent could not do is the guest’s error', () => {
  const error = agentError(Buffer.from('no such file'), { vm: 'vm0', dut: 'dut0' })
  expect(error).toBeInstanceOf(GuestError)
  expect(error.message).toBe("dut0/vm0: the guest's agent could not do it: no such file")
})
