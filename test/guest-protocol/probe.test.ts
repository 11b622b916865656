import { expect, test } from 'vitest'
import { GuestError } from '../../src/errors.ts'
import { openProbe } from '../../src/guest-protocol/probe.ts'
import { agentPeer } from '../support/agent-peer.ts'

const nonce = Uint8Array.from({ length: 16 }, (_, i) => i)
const wait = { timeoutMs: 5000 }

/** A probe of two NICs, and the guest's end of it. */
async function probing() {
  const peer = await agentPeer()
  const heard: number[][] = []
  const nics = [
    { id: 3, netdev: 'eth0' },
    { id: 258, netdev: 'lan' },
  ]
  const probe = openProbe(peer.agent, { nonce, nics }, (...pair) => void heard.push(pair))
  const { channel, payload } = await peer.until('probe')
  return { ...peer, probe, channel, payload, pairs: heard }
}

test('names the NICs behind the nonce', async () => {
  const { payload } = await probing()
  expect(Buffer.from(payload)).toEqual(
    Buffer.concat([nonce, Buffer.from('\x03\0eth0\0'), Buffer.from('\x02\x01lan\0')]),
  )
})

test('what the guest says is told, however it is cut', async () => {
  const { probe, channel, say, pairs, until, exit } = await probing()
  say('out', channel, 'deaf 258 No such dev')
  say('out', channel, 'ice\nlistens\nheard 3')
  expect([...(await probe.listening(wait))]).toEqual([[258, 'No such device']])
  say('out', channel, ' 7\nheard 3 300\n')
  const sent = probe.send(wait)
  await until('data')
  expect(pairs).toEqual([
    [3, 7],
    [3, 300],
  ])
  say('out', channel, 'sent\n')
  await sent
  const stopped = probe.stop(wait)
  await until('signal')
  say('out', channel, 'heard 3 9\n')
  exit(channel, 0)
  await stopped
  expect(pairs.at(-1)).toEqual([3, 9])
})

test('a round is over when the guest says so, and not by the one before', async () => {
  const { probe, channel, say, until } = await probing()
  const first = probe.send(wait)
  await until('data')
  say('out', channel, 'sent\n')
  await first
  await expect(probe.send({ timeoutMs: 50 })).rejects.toThrow('timed out')
})

test('waits end when the agent gives the probe up', async () => {
  const { probe, channel, say } = await probing()
  say('fail', channel, 'the VM was reset meanwhile')
  await expect(probe.listening(wait)).rejects.toThrow('reset meanwhile')
  await expect(probe.send(wait)).rejects.toBeInstanceOf(GuestError)
  await expect(probe.stop(wait)).rejects.toThrow('reset meanwhile')
})

test('closed without a wait, it is closed in the guest', async () => {
  const { probe, channel, until } = await probing()
  probe.close()
  expect((await until('close')).channel).toBe(channel)
})
