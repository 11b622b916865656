import { describe, expect, test } from 'vitest'
import { agentError } from '../../src/console/agent.ts'
import { GuestError } from '../../src/errors.ts'
import { poll } from '../../src/wait.ts'
import { agentPeer } from './agent-peer.ts'

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
