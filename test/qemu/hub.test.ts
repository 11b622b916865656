import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join as joinPath } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import { localHost } from '../../src/host/local.ts'
import { type Hub, openHub } from '../../src/qemu/hub.ts'
import { segmentNetdevOption } from '../../src/qemu/segment.ts'
import { poll, waitFor } from '../../src/wait.ts'
import { join, type Member } from '../support/hub-member.ts'

const host = localHost()
const qemu = 'qemu-system-x86_64'
const SOON = { timeoutMs: 10_000 }
let dir: string
let members: Member[]
let hubs: Hub[]

beforeEach(async () => {
  dir = await mkdtemp(joinPath(tmpdir(), 'hub-'))
  await host.makeDir(`${dir}/hub`)
  members = []
  hubs = []
})

afterEach(async () => {
  await Promise.all(members.map((member) => member.leave()))
  await Promise.all(hubs.map((hub) => hub.close()))
  await rm(dir, { recursive: true })
})

async function open(): Promise<Hub> {
  const hub = await openHub({ host, qemu, dir: `${dir}/hub`, name: 'lan' })
  hubs.push(hub)
  return hub
}

async function enter(port: string): Promise<Member> {
  const member = await join(host, dir, port, qemu)
  members.push(member)
  return member
}

async function segment(count: number): Promise<{ hub: Hub; members: Member[] }> {
  const hub = await open()
  const ports = await Promise.all(Array.from({ length: count }, () => hub.port()))
  return { hub, members: await Promise.all(ports.map(enter)) }
}

/** An Ethernet frame to everybody, or of the given length, that carries `text`. */
function frame(text: string, size = 60): Buffer {
  const bytes = Buffer.alloc(size)
  bytes.fill(0xff, 0, 6)
  bytes.write(text, 14)
  return bytes
}

const textOf = (bytes: Buffer) => bytes.toString('utf8', 14).replace(/\0+$/, '')
const texts = (frames: Buffer[]) => frames.map(textOf)
const numbers = (count: number) => Array.from({ length: count }, (_, i) => `${i}`)

test.each([3, 8])('what one of %i sends all others receive, and it does not', async (count) => {
  const { members } = await segment(count)
  for (const [i, member] of members.entries()) await member.send(frame(`from ${i}`))
  for (const [i, member] of members.entries()) {
    const wanted = members.map((_, from) => `from ${from}`).filter((_, from) => from !== i)
    expect(texts(await member.got(count - 1)).sort()).toEqual(wanted.sort())
  }
})

test('frames keep their order, their size and their bytes', async () => {
  const [a, b, c] = (await segment(3)).members as [Member, Member, Member]
  const sent = numbers(400).map((text, i) => frame(text, 60 + ((i * 37) % 1455)))
  for (const one of sent) await a.send(one)
  expect(Buffer.concat(await b.got(400)).equals(Buffer.concat(sent))).toBe(true)
  expect(Buffer.concat(await c.got(400)).equals(Buffer.concat(sent))).toBe(true)
  expect(a.frames).toEqual([])
})

test('a port can be made and joined while the others talk', async () => {
  const { hub, members } = await segment(2)
  const [a, b] = members as [Member, Member]
  await a.send(frame('before'))
  await b.got(1)
  const late = await enter(await hub.port())
  await a.send(frame('after'))
  expect(texts(await late.got(1))).toEqual(['after'])
  await late.send(frame('hello'))
  expect(texts(await a.got(1))).toEqual(['hello'])
  expect(texts(await b.got(3))).toEqual(['before', 'after', 'hello'])
})

test('a port that nobody has joined holds up nobody', async () => {
  const { hub, members } = await segment(2)
  await hub.port()
  const [a, b] = members as [Member, Member]
  for (const text of numbers(300)) await a.send(frame(text))
  expect(texts(await b.got(300))).toEqual(numbers(300))
})

test('a member that was killed comes back to the same port', async () => {
  const { hub, members } = await segment(2)
  const [a, witness] = members as [Member, Member]
  const port = await hub.port()
  const b = await enter(port)
  await a.send(frame('one'))
  await b.got(1)
  await b.leave()
  await a.send(frame('lost'))
  await witness.got(2) // whose port is older: the hub has come to b's before
  const again = await enter(port)
  await a.send(frame('two'))
  expect(texts(await again.got(1))).toEqual(['two'])
  await again.send(frame('three'))
  expect(texts(await a.got(1))).toEqual(['three'])
})

test('a port that is taken away leaves nothing, and the others go on', async () => {
  const hub = await open()
  const [first, second, third] = [await hub.port(), await hub.port(), await hub.port()]
  const [a, b, c] = [await enter(first), await enter(second), await enter(third)]
  await a.send(frame('one'))
  await Promise.all([b.got(1), c.got(1)])
  await b.leave()
  const names = async () => (await readdir(`${dir}/hub`)).sort()
  expect(await names()).toEqual(expect.arrayContaining(['2', '2.vm']))
  await hub.removePort(second)
  await hub.removePort(second)
  expect(await names()).toEqual(expect.not.arrayContaining(['2', '2.vm']))
  await a.send(frame('two'))
  expect(texts(await c.got(2))).toEqual(['one', 'two'])
  const fourth = await hub.port()
  expect(fourth).toMatch(/\/4$/)
  const d = await enter(fourth)
  await a.send(frame('three'))
  expect(texts(await d.got(1))).toEqual(['three'])
})

test('a frozen member stops neither the others nor the hub', async () => {
  const { hub, members } = await segment(3)
  const [a, b, frozen] = members as [Member, Member, Member]
  frozen.freeze()
  for (const text of numbers(2000)) await a.send(frame(text, 1514))
  expect((await b.got(2000)).length).toBe(2000)
  expect(await waitFor(hub.port(), SOON)).toMatch(/\/4$/)
  frozen.thaw()
  expect(texts(await frozen.got(2000))).toEqual(numbers(2000))
})

test('closing leaves no process and no socket, twice too', async () => {
  const { hub } = await segment(2)
  await Promise.all(members.map((member) => member.leave()))
  await Promise.all([hub.close(), hub.close()])
  expect(await hub.closed).toEqual({ exitCode: 0 })
  expect(await readdir(`${dir}/hub`)).toEqual([])
})

test('the death of the hub is seen, and named by the next port', async () => {
  const { hub } = await segment(2)
  const pid = await hubPid()
  process.kill(pid, 'SIGKILL')
  expect(await waitFor(hub.closed, SOON)).toEqual({ exitCode: 137, signal: 'SIGKILL' })
  await expect(hub.port()).rejects.toThrow('the hub of link "lan" has ended (SIGKILL)')
  await hub.close()
  expect(await readdir(`${dir}/hub`)).toEqual([])
})

test('a hub that is stuck is closed by force', async () => {
  const { hub } = await segment(1)
  process.kill(await hubPid(), 'SIGSTOP')
  await waitFor(hub.close(), SOON)
  expect(await hub.closed).toMatchObject({ signal: 'SIGKILL' })
})

test('a QEMU that does not start is reported with what it said', async () => {
  const broken = `${dir}/broken`
  await writeFile(broken, '#!/bin/sh\necho no machines today; exit 3\n', { mode: 0o755 })
  const opening = openHub({ host, qemu: broken, dir: `${dir}/hub`, name: 'lan' })
  await expect(opening).rejects.toBeInstanceOf(InfrastructureError)
  await expect(opening).rejects.toThrow(/has ended \(exit status 3\)[\s\S]*no machines today/)
  expect(await readdir(`${dir}/hub`)).toEqual([])
})

test('a QEMU that is too old for links says what is needed', async () => {
  const old = `${dir}/old.mjs`
  await writeFile(old, oldQemu(), { mode: 0o755 })
  const hub = await openHub({ host, qemu: old, dir: `${dir}/hub`, name: 'lan' })
  hubs.push(hub)
  await expect(hub.port()).rejects.toThrow(
    "link \"lan\": QEMU 7.1 made no port: Parameter 'type' does not accept value 'dgram'\n" +
      '→ links need QEMU 7.2 or later on the host',
  )
})

test('opening stops with its signal', async () => {
  const stuck = `${dir}/stuck`
  await writeFile(stuck, '#!/bin/sh\nkill -STOP $$\n', { mode: 0o755 })
  const stop = new AbortController()
  const opening = openHub({
    host,
    qemu: stuck,
    dir: `${dir}/hub`,
    name: 'lan',
    signal: stop.signal,
  })
  opening.catch(() => {})
  await poll(async () => (await readdir(`${dir}/hub`)).length > 0 || undefined, SOON)
  stop.abort(new Error('enough'))
  await expect(waitFor(opening, SOON)).rejects.toThrow('enough')
})

test('the option for a VM names both sockets, commas doubled', () => {
  expect(segmentNetdevOption('net0', '/a,b/1')).toBe(
    'dgram,id=net0,local.type=unix,local.path=/a,,b/1.vm,remote.type=unix,remote.path=/a,,b/1',
  )
})

/** The process that listens at our folder's control socket as a client: its command line says so. */
async function hubPid(): Promise<number> {
  const mark = `socket,id=qmp,path=${dir}/hub/qmp`
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const line = await host.readFile(`/proc/${pid}/cmdline`).then(
      (bytes) => Buffer.from(bytes).toString(),
      () => '',
    )
    if (line.includes(mark)) return Number(pid)
  }
  throw new Error('the hub is not running')
}

/** Speaks as QEMU 7.1 does, which knows hubports and no dgram. */
function oldQemu(): string {
  const version = { qemu: { major: 7, minor: 1, micro: 0 }, package: '' }
  const desc = "Parameter 'type' does not accept value 'dgram'"
  return `#!${process.execPath}
    import { connect } from 'node:net'
    const path = process.argv.join(' ').match(/id=qmp,path=(\\S+)/)[1]
    const socket = connect(path)
    const say = (message) => socket.write(JSON.stringify(message) + '\\n')
    say({ QMP: { version: ${JSON.stringify(version)}, capabilities: [] } })
    socket.on('data', (data) => {
      for (const line of data.toString().trim().split('\\n')) {
        const { id, execute, arguments: args } = JSON.parse(line)
        if (args?.type === 'dgram') {
          say({ id, error: { class: 'GenericError', desc: ${JSON.stringify(desc)} } })
        } else say({ id, return: {} })
        if (execute === 'quit') socket.end()
      }
    })
  `
}

test('a port that is reserved is there once it is opened, and its member has missed what came before', async () => {
  const { hub, members } = await segment(2)
  const [sender, witness] = members as [Member, Member]
  const path = hub.reserve()
  const late = await enter(path)
  await sender.send(frame('before'))
  await witness.got(1)
  await hub.open(path)
  await sender.send(frame('after'))
  expect(texts(await late.got(1))).toEqual(['after'])
  await late.send(frame('answer'))
  expect(texts(await sender.got(1))).toEqual(['answer'])
  await late.leave()
  await hub.removePort(path)
  const never = hub.reserve()
  await hub.removePort(never)
  const left = (await readdir(`${dir}/hub`)).filter((name) => /^[34]/.test(name))
  expect(left).toEqual([])
})
