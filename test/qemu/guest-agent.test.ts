import { describe, expect, test, vi } from 'vitest'
import { GuestError } from '../../src/errors.ts'
import { GuestAgentError, GuestAgentSilence } from '../../src/qemu/guest-agent-error.ts'
import { poll, turn } from '../../src/wait.ts'
import { openAgent } from '../support/guest-agent-peer.ts'
import { stopTime } from '../support/stop-time.ts'

const SOON = { timeoutMs: 10_000 }
const BRIEFLY = { timeoutMs: 100 }

describe('a call', () => {
  test('is sent once the agent has shown that it is there, and resolves with what it returns', async () => {
    await using agent = await openAgent((_, peer) => peer.say({ return: { pid: 7 } }))
    const call = agent.port.call('guest-exec', { path: 'true' }, SOON)
    expect(await call).toEqual({ pid: 7 })
    expect(agent.requests).toEqual([{ execute: 'guest-exec', arguments: { path: 'true' } }])
    expect(agent.syncs).toHaveLength(1)
    await agent.port.call('guest-ping', undefined, SOON)
    expect(agent.requests[1]).toEqual({ execute: 'guest-ping' })
  })

  test('takes no notice of what comes before the sign of life', async () => {
    await using agent = await openAgent()
    const { onSync } = agent
    agent.onSync = (id) => {
      agent.far.write('Welcome to this guest!\n{"return": {"of": "the past"}}\n')
      agent.far.write(Buffer.from(`\xff{"return": ${id + 1}}\n`, 'latin1')) // asked by others
      agent.far.write('{"return": {"half": ')
      onSync(id)
    }
    expect(await agent.port.call('guest-ping', undefined, SOON)).toEqual({})
  })

  test('does not take a number for the sign of life that is not behind the sentinel', async () => {
    await using agent = await openAgent()
    const { onSync } = agent
    agent.onSync = async (id) => {
      agent.say({ return: id })
      await turn()
      agent.say({ return: 'of the past' })
      onSync(id)
    }
    expect(await agent.port.call('guest-ping', undefined, SOON)).toEqual({})
  })

  test('is put together from pieces, bytes of one character apart', async () => {
    const text = `{"return": "grüße €"}\n`
    await using agent = await openAgent(async (_, { far }) => {
      for (const byte of Buffer.from(text)) {
        await new Promise((sent) => far.write(Buffer.of(byte), sent))
      }
    })
    agent.far.setNoDelay(true)
    expect(await agent.port.call('guest-ping', undefined, SOON)).toBe('grüße €')
  })

  test('may return a lot', async () => {
    const large = 'x'.repeat(8_000_000)
    await using agent = await openAgent((_, peer) => peer.say({ return: large }))
    expect(await agent.port.call('guest-ping', undefined, SOON)).toBe(large)
  })

  test('at the same time as others gets its own answer, one after another', async () => {
    let underWay = 0
    let most = 0
    await using agent = await openAgent(async ({ arguments: args }, peer) => {
      most = Math.max(most, ++underWay)
      await new Promise((done) => setImmediate(done))
      underWay -= 1
      peer.say({ return: args })
    })
    const numbers = Array.from({ length: 20 }, (_, n) => n)
    const calls = numbers.map((n) => agent.port.call('guest-echo', { n }, SOON))
    expect(await Promise.all(calls)).toEqual(numbers.map((n) => ({ n })))
    expect(most).toBe(1)
  })
})

describe('an error', () => {
  test('has the agent’s own words', async () => {
    const error = { class: 'GenericError', desc: 'Failed to execute child process “x”' }
    await using agent = await openAgent((_, peer) => peer.say({ error }))
    const call = agent.port.call('guest-exec', { path: 'x' }, SOON)
    await expect(call).rejects.toBeInstanceOf(GuestAgentError)
    await expect(call).rejects.toBeInstanceOf(GuestError)
    await expect(call).rejects.toMatchObject({
      ...error,
      ...{ vm: 'vm0', command: 'guest-exec' },
      message: `vm0: the guest agent refused guest-exec: ${error.desc}`,
    })
  })

  test.each([
    { class: 'CommandNotFound', desc: 'The command guest-x has not been found' },
    { class: 'GenericError', desc: 'Command guest-x has been disabled for this instance' },
  ])('says where to look for what is switched off: %j', async (error) => {
    await using agent = await openAgent((_, peer) => peer.say({ error }))
    const call = agent.port.call('guest-x', undefined, SOON)
    await expect(call).rejects.toThrow(error.desc)
    await expect(call).rejects.toThrow('vm.agent.info()')
  })
})

describe('an agent that is silent', () => {
  test('is known not to be there, and is not sent the command', async () => {
    await using agent = await openAgent()
    agent.onSync = () => {}
    stopTime()
    const call = agent.port.call('guest-shutdown', undefined, BRIEFLY)
    await agent.asked('guest-sync-delimited')
    vi.advanceTimersByTime(100)
    await expect(call).rejects.toBeInstanceOf(GuestAgentSilence)
    await expect(call).rejects.toMatchObject({ silence: 'not there' })
    expect(agent.syncs).toHaveLength(1)
    expect(agent.requests).toEqual([])
  })

  test('is asked again, for it may be there by then', async () => {
    await using agent = await openAgent()
    const { onSync } = agent
    agent.onSync = (id) => agent.syncs.length > 1 && onSync(id)
    expect(await agent.port.call('guest-ping', undefined, SOON)).toEqual({})
    expect(agent.syncs).toHaveLength(2)
  })

  test('may answer all that it was asked when it comes, with complaints in between', async () => {
    await using agent = await openAgent()
    const { onSync } = agent
    agent.onSync = async () => {
      const [first, second] = agent.syncs
      if (first === undefined || second === undefined) return
      onSync(first)
      await turn()
      agent.say({ error: { class: 'GenericError', desc: 'JSON parse error, stray character' } })
      onSync(second)
    }
    expect(await agent.port.call('guest-ping', undefined, SOON)).toEqual({})
    expect(agent.syncs).toHaveLength(2)
    expect(agent.requests).toHaveLength(1)
  })

  test('does not have its late answer taken for that of the next call', async () => {
    await using agent = await openAgent(({ execute }, peer) => {
      if (execute !== 'guest-slow') peer.say({ return: execute })
    })
    const { onSync } = agent
    stopTime()
    const slow = agent.port.call('guest-slow', undefined, BRIEFLY)
    await agent.asked('guest-slow')
    vi.advanceTimersByTime(100)
    await expect(slow).rejects.toMatchObject({ silence: 'no answer' })
    agent.onSync = (id) => {
      agent.say({ return: 'guest-slow' }) // it has got round to it
      onSync(id)
    }
    expect(await agent.port.call('guest-next', undefined, SOON)).toBe('guest-next')
  })

  test('may be in the middle of an answer that was given up', async () => {
    await using agent = await openAgent(({ execute }, { far, say }) => {
      if (execute === 'guest-slow') far.write('{"return": [1, 2,')
      else say({ return: execute })
    })
    stopTime()
    const slow = agent.port.call('guest-slow', undefined, BRIEFLY)
    await agent.asked('guest-slow')
    vi.advanceTimersByTime(100)
    await expect(slow).rejects.toMatchObject({ silence: 'no answer' })
    expect(await agent.port.call('guest-next', undefined, SOON)).toBe('guest-next')
  })

  test('keeps a call waiting that is behind another one, no longer than its time', async () => {
    await using agent = await openAgent((_, peer) => {
      if (peer.requests.length > 1) peer.say({ return: 'late' })
    })
    stopTime()
    const first = agent.port.call('guest-first', undefined, { timeoutMs: 500 })
    const second = agent.port.call('guest-second', undefined, BRIEFLY)
    const third = agent.port.call('guest-third', undefined, SOON)
    await agent.asked('guest-first')
    vi.advanceTimersByTime(100)
    await expect(second).rejects.toMatchObject({ silence: 'busy with an earlier call' })
    vi.advanceTimersByTime(400)
    await expect(first).rejects.toMatchObject({ silence: 'no answer' })
    expect(await third).toBe('late')
    expect(agent.requests.map(({ execute }) => execute)).toEqual(['guest-first', 'guest-third'])
  })
})

describe('calls under way end at once', () => {
  test('when the guest begins anew, and later ones do not', async () => {
    await using agent = await openAgent(({ execute }, peer) => {
      if (execute === 'guest-next') peer.say({ return: 'next' })
    })
    const { era } = agent.port
    const calls = [1, 2].map(() => agent.port.call('guest-slow', undefined, SOON))
    const ends = Promise.allSettled(calls)
    await poll(() => agent.requests.length > 0 || undefined, SOON)
    const reason = new GuestError('the VM was reset meanwhile')
    agent.port.interrupt(reason)
    expect(await ends).toEqual([1, 2].map(() => ({ status: 'rejected', reason })))
    expect(era.aborted).toBe(true)
    expect(await agent.port.call('guest-next', undefined, SOON)).toBe('next')
  })

  test('by their signal', async () => {
    await using agent = await openAgent(() => {})
    const stop = new AbortController()
    const call = agent.port.call('guest-slow', undefined, { ...SOON, signal: stop.signal })
    await poll(() => agent.requests.length > 0 || undefined, SOON)
    stop.abort(new Error('enough'))
    await expect(call).rejects.toThrow('enough')
  })
})

test('what comes out of the QEMU before is not listened to', async () => {
  await using left = await openAgent()
  await using agent = await openAgent((_, peer) => {
    left.say({ return: 'left' })
    peer.say({ return: 'here' })
  })
  const { port } = left
  port.moveTo(agent.near)
  expect(await port.call('guest-ping', undefined, SOON)).toBe('here')
})
