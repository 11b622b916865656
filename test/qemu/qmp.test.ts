import { describe, expect, expectTypeOf, test } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import { connectQmp, type Qmp, QmpClosedError, QmpError } from '../../src/qemu/qmp.ts'
import { poll, waitFor } from '../../src/wait.ts'
import { GREETING, greeted, openPeer, startQemu } from '../support/qmp-peer.ts'

const SOON = { timeoutMs: 10_000 }

describe('with QEMU', () => {
  test('greets, and answers commands with their own types', async () => {
    await using qemu = await startQemu()
    const { qmp } = qemu
    expect(qmp.version.qemu.major).toBeGreaterThanOrEqual(7)
    const status = await qmp.execute('query-status')
    expectTypeOf(status.running).toEqualTypeOf<boolean>()
    expect(status).toMatchObject({ running: true, status: 'running' })
    const name: unknown = await qmp.execute('query-name')
    expect(name).toEqual({})
    expect(await qmp.execute('qom-get', { path: '/machine', property: 'type' })).toBe(
      'none-machine',
    )
  })

  test('many commands are under way at once, each gets its own answer', async () => {
    await using qemu = await startQemu()
    const lists = Array.from({ length: 200 }, (_, i) =>
      qemu.qmp.execute(i % 2 ? 'query-chardev' : 'query-version'),
    )
    const answers = await Promise.all(lists)
    for (const [i, answer] of answers.entries()) expect(Array.isArray(answer)).toBe(i % 2 === 1)
  })

  test('what QEMU refuses is an error with its class, its words and the command', async () => {
    await using qemu = await startQemu()
    const refused = qemu.qmp.execute('device_del', { id: 'ghost' })
    await expect(refused).rejects.toBeInstanceOf(QmpError)
    await expect(refused).rejects.toBeInstanceOf(InfrastructureError)
    await expect(refused).rejects.toMatchObject({
      class: 'DeviceNotFound',
      desc: "Device 'ghost' not found",
      command: 'device_del',
      message: "QEMU refused device_del: Device 'ghost' not found",
    })
    await expect(qemu.qmp.execute('no-such')).rejects.toMatchObject({ class: 'CommandNotFound' })
    await expect(qemu.qmp.execute('query-status')).resolves.toBeDefined()
  })

  test('events come by name and all together, also those before the first look', async () => {
    await using qemu = await startQemu()
    const { qmp } = qemu
    const all = qmp.events()
    const resumes = qmp.events('RESUME')
    await qmp.execute('stop')
    await qmp.execute('cont')
    await qmp.execute('stop')
    const names = []
    for await (const { event, timestamp } of all) {
      expect(timestamp.seconds).toBeGreaterThan(1e9)
      names.push(event)
      if (names.length === 3) break
    }
    expect(names).toEqual(['STOP', 'RESUME', 'STOP'])
    expect((await resumes.next()).value.event).toBe('RESUME')
  })

  test('once waits for the event that is meant', async () => {
    await using qemu = await startQemu(['-machine', 'pc', '-S'])
    const reset = qemu.qmp.once('RESET', { ...SOON, where: ({ data }) => !data.guest })
    await qemu.qmp.execute('system_reset')
    expect((await reset).data.reason).toBe('host-qmp-system-reset')
  })

  test('quit is answered, then the connection and the events end', async () => {
    await using qemu = await startQemu()
    const { qmp } = qemu
    const events = qmp.events()
    await qmp.execute('quit')
    await waitFor(qmp.closed, SOON)
    const seen = []
    for await (const { event } of events) seen.push(event)
    expect(seen).toEqual(['SHUTDOWN'])
    await expect(qmp.execute('query-status')).rejects.toBeInstanceOf(QmpClosedError)
    expect(await qmp.events().next()).toEqual({ done: true, value: undefined })
  })

  test('all that waits ends at once when QEMU is killed', async () => {
    await using qemu = await startQemu()
    const { qmp } = qemu
    qemu.signal('SIGSTOP')
    const waiting = [
      qmp.execute('query-status'),
      qmp.execute('query-pci'),
      qmp.once('STOP'),
      qmp.events('STOP').next(),
    ]
    const settled = Promise.allSettled(waiting)
    qemu.kill()
    const results = await waitFor(settled, SOON)
    expect(results.map(({ status }) => status)).toEqual([
      ...['rejected', 'rejected', 'rejected', 'fulfilled'],
    ])
    await expect(waiting[0]).rejects.toThrow(
      "QEMU's control connection ended while query-status was waited for",
    )
    await expect(waiting[2]).rejects.toThrow('the event STOP')
  })

  test('a QEMU that does not answer is an error in time, and its late answer is passed over', async () => {
    await using qemu = await startQemu()
    qemu.signal('SIGSTOP')
    const late = qemu.qmp.execute('query-version', undefined, { timeoutMs: 60 })
    await expect(late).rejects.toThrow(/QEMU did not answer: query-version \(after \d+ ms\)/)
    qemu.signal('SIGCONT')
    expect(await qemu.qmp.execute('query-status')).toMatchObject({ running: true })
  })

  test('a signal ends a wait with its reason, before and while it waits', async () => {
    await using qemu = await startQemu()
    qemu.signal('SIGSTOP')
    const stop = new AbortController()
    const waiting = qemu.qmp.execute('query-status', undefined, { signal: stop.signal })
    const event = qemu.qmp.once('STOP', { signal: stop.signal })
    stop.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    await expect(event).rejects.toThrow('enough')
    const again = qemu.qmp.execute('query-status', undefined, { signal: stop.signal })
    await expect(again).rejects.toThrow('enough')
  })
})

describe('bytes, however they are cut', () => {
  const TEXT = 'ein Gerät “日本” 🦉'

  test('one byte at a time', async () => {
    await using peer = await openPeer()
    const qmp = await greeted(peer)
    const answer = qmp.execute('query-name')
    const { id } = await command(peer, 1)
    for (const byte of Buffer.from(`${JSON.stringify({ return: TEXT, id })}\r\n`)) {
      await new Promise((sent) => peer.far.write(Buffer.of(byte), sent))
    }
    expect(await waitFor(answer, SOON)).toBe(TEXT)
  })

  test('several messages in one read, the last one cut within a character', async () => {
    await using peer = await openPeer()
    const qmp = await greeted(peer)
    const events = qmp.events('A')
    const answers = [qmp.execute('x'), qmp.execute('y')]
    const [x, y] = [await command(peer, 1), await command(peer, 2)]
    const timestamp = { seconds: 1, microseconds: 2 }
    const bytes = Buffer.from(
      [
        { return: 2, id: y.id },
        { event: 'A', timestamp },
        { return: TEXT, id: x.id },
      ]
        .map((message) => JSON.stringify(message))
        .join('\r\n'),
    )
    const cut = bytes.indexOf(0xf0) + 2
    peer.far.write(bytes.subarray(0, cut))
    expect(await waitFor(answers[1]!, SOON)).toBe(2)
    expect((await events.next()).value).toEqual({ event: 'A', timestamp })
    peer.far.write(Buffer.concat([bytes.subarray(cut), Buffer.from('\r\n')]))
    expect(await waitFor(answers[0]!, SOON)).toBe(TEXT)
  })

  test('an answer of 10 MB', async () => {
    await using peer = await openPeer()
    const qmp = await greeted(peer)
    const answer = qmp.execute('big')
    const { id } = await command(peer, 1)
    const big = 'ü'.repeat(5 * 2 ** 20)
    const startedAt = performance.now()
    peer.say({ return: big, id })
    expect((await waitFor(answer, SOON)) === big).toBe(true)
    expect(performance.now() - startedAt).toBeLessThan(3000)
  })

  test('answers out of order, empty lines', async () => {
    await using peer = await openPeer()
    const qmp = await greeted(peer)
    const answers = [qmp.execute('x'), qmp.execute('y')]
    const [x, y] = [await command(peer, 1), await command(peer, 2)]
    peer.far.write('\r\n')
    peer.say({ error: { class: 'GenericError', desc: 'no' }, id: y.id })
    await expect(answers[1]).rejects.toThrow('QEMU refused y: no')
    peer.say({ return: 'x', id: x.id })
    expect(await answers[0]).toBe('x')
  })
})

describe('what is not QEMU', () => {
  test.each([
    ['text', 'SSH-2.0-OpenSSH_9.2\r\n', /this is not QMP: "SSH-2.0-OpenSSH_9.2/],
    ['JSON of another kind', '[1]\nnull\n', /this is not QMP/],
    ['null', 'null\n', /this is not QMP/],
  ])('%s ends the connection with an error that quotes it', async (_, bytes, message) => {
    await using peer = await openPeer()
    peer.far.write(bytes)
    await expect(connectQmp(peer.near, SOON)).rejects.toThrow(message)
    expect(peer.near.destroyed).toBe(true)
  })

  test('silence is an error in time, and the stream is given up', async () => {
    await using peer = await openPeer()
    const connecting = connectQmp(peer.near, { timeoutMs: 60 })
    await expect(connecting).rejects.toThrow('QEMU did not answer: the greeting')
    expect(peer.near.destroyed).toBe(true)
  })

  test('an end before the greeting says so; a signal ends the wait', async () => {
    await using first = await openPeer()
    first.far.end()
    await expect(connectQmp(first.near, SOON)).rejects.toThrow('while the greeting was waited for')
    await using second = await openPeer()
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(connectQmp(second.near, { signal })).rejects.toThrow('enough')
  })

  test('capabilities that are refused', async () => {
    await using peer = await openPeer([])
    peer.say(GREETING)
    const connecting = connectQmp(peer.near, SOON)
    const { id } = await command(peer, 0)
    peer.say({ error: { class: 'GenericError', desc: 'busy' }, id })
    await expect(connecting).rejects.toThrow('QEMU refused qmp_capabilities: busy')
  })

  test('rubbish later fails what waits, with its cause', async () => {
    await using peer = await openPeer()
    const qmp = await greeted(peer)
    const waiting = qmp.execute('x')
    peer.far.write('{"half": \n')
    await expect(waiting).rejects.toThrow(/this is not QMP: "\{\\"half\\": "/)
    expect((await qmp.closed)?.message).toMatch('not QMP')
  })

  test('close ends the connection from this side', async () => {
    await using peer = await openPeer()
    const qmp = await greeted(peer)
    const waiting = qmp.execute('x')
    const events = qmp.events()
    qmp.close()
    await expect(waiting).rejects.toBeInstanceOf(QmpClosedError)
    expect(await qmp.closed).toBeUndefined()
    expect((await events.next()).done).toBe(true)
  })
})

test('leaving an iteration drops what it had not read, and others go on', async () => {
  await using peer = await openPeer()
  const qmp = await greeted(peer)
  const left = qmp.events('A')
  const kept = qmp.events('A')
  peer.say({ event: 'A', data: 1 })
  peer.say({ event: 'A', data: 2 })
  for await (const { data } of left) {
    expect(data).toBe(1)
    break
  }
  expect((await left.next()).done).toBe(true)
  expect((await kept.next()).value.data).toBe(1)
  expect((await kept.next()).value.data).toBe(2)
})

test('once has its own time limit and names the event', async () => {
  await using peer = await openPeer()
  const qmp = await greeted(peer)
  const never = qmp.once('DEVICE_DELETED', { timeoutMs: 60, where: () => false })
  peer.say({ event: 'DEVICE_DELETED', data: {} })
  await expect(never).rejects.toThrow(/QEMU did not report DEVICE_DELETED \(after \d+ ms\)/)
})

test('the types ask for what a command needs', () => {
  const check = (qmp: Qmp) => {
    // @ts-expect-error device_del needs an id
    void qmp.execute('device_del')
    // @ts-expect-error and nothing else
    void qmp.execute('device_del', { name: 'x' })
    void qmp.execute('anything-else', { at: 'all' })
    expectTypeOf(qmp.execute('anything-else')).resolves.toBeUnknown()
    expectTypeOf(qmp.once('MIGRATION')).resolves.toHaveProperty('data')
  }
  expect(check).toBeTypeOf('function')
})

/** The command that the client sent as its nth, 0 being qmp_capabilities. */
function command(peer: Awaited<ReturnType<typeof openPeer>>, index: number) {
  return poll(() => peer.commands[index], SOON)
}
