import { describe, expect, test } from 'vitest'
import { GuestError } from '../../src/errors.ts'
import { openTerminal } from '../../src/guest-protocol/terminal.ts'
import { poll } from '../../src/wait.ts'
import { agentPeer } from '../support/agent-peer.ts'

async function open(command = 'top') {
  const peer = await agentPeer()
  const terminal = openTerminal(peer.agent, command, peer.where)
  const { channel, payload } = await peer.until('pty')
  const printed: string[] = []
  terminal.onData((data) => printed.push(`${Buffer.from(data)}`))
  return { ...peer, terminal, channel, asked: Buffer.from(payload), printed }
}

describe('a terminal in the guest', () => {
  test('is asked for with its size, wide enough that nothing wraps, and its command', async () => {
    const { asked } = await open('vim x')
    expect([asked.readUInt16LE(0), asked.readUInt16LE(2)]).toEqual([50, 1000])
    expect(asked[4]).toBe(0)
    expect(`${asked.subarray(5)}`).toBe('vim x')
  })

  test('gives standard error apart where that is asked for', async () => {
    const peer = await agentPeer()
    const terminal = openTerminal(peer.agent, 'top', peer.where, { stderr: 'apart' })
    const { channel, payload } = await peer.until('pty')
    expect(payload[4]).toBe(1)
    const heard: string[] = []
    terminal.onData((data) => heard.push(`out ${Buffer.from(data)}`))
    terminal.onStderr?.((data) => heard.push(`err ${Buffer.from(data)}`))
    peer.say('err', channel, 'a')
    peer.say('out', channel, 'b')
    await poll(() => heard[1])
    expect(heard).toEqual(['err a', 'out b'])
  })

  test('gives what is printed, and takes what is typed', async () => {
    const { terminal, channel, say, printed, until } = await open()
    say('out', channel, 'a')
    say('out', channel, 'b')
    await poll(() => printed[1])
    expect(printed).toEqual(['a', 'b'])
    terminal.write('q\n')
    terminal.write(Uint8Array.of(3))
    expect((await until('data')).text).toBe('q\n')
    expect((await until('data', ({ text }) => text === '\x03')).channel).toBe(channel)
    terminal.kill(15)
    expect((await until('signal')).text).toBe('\x0f')
  })

  test.each([0, 3, 137])('ends with status %d', async (status) => {
    const { terminal, channel, exit } = await open()
    exit(channel, status)
    expect(await terminal.exited).toBe(status)
  })

  test('that cannot be opened is the guest’s error', async () => {
    const { terminal, channel, say } = await open()
    say('fail', channel, 'no pty is left')
    const error = await terminal.exited.catch((error) => error)
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toContain('no pty is left')
  })

  test('that is closed has ended, hung up, though the guest says nothing more', async () => {
    const { terminal, channel, say, printed, until } = await open()
    terminal.close()
    expect((await until('close')).channel).toBe(channel)
    expect(await terminal.exited).toBe(129)
    say('out', channel, 'late')
    const other = openTerminal((await open()).agent, '', {})
    other.close()
    await other.exited
    expect(printed).toEqual([])
  })
})
