import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { InfrastructureError, UsageError } from '../../../src/errors.ts'
import { localHost } from '../../../src/host/local.ts'
import { checkRange, choosePorts, type PortRange } from '../../../src/lease/resources/ports.ts'

const host = localHost()
const choose = (count: number, range: PortRange, leased: readonly number[] = []) =>
  choosePorts(host, count, { range, leased: new Set(leased) })

async function listenTcp(address: string, wanted = 0): Promise<number> {
  const server = createServer().listen(wanted, address)
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function bindUdp(address: string): Promise<number> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4').bind(0, address)
  onTestFinished(() => void socket.close())
  await once(socket, 'listening')
  return socket.address().port
}

describe('what is chosen', () => {
  test('is as many as asked for, of the range, each once', async () => {
    const ports = await choose(20, [24_000, 24_039])
    expect(new Set(ports).size).toBe(20)
    for (const port of ports) expect(port >= 24_000 && port <= 24_039).toBe(true)
  })

  test('is nothing where nothing is asked for', async () => {
    expect(await choose(0, [24_000, 24_000], [24_000])).toEqual([])
  })

  test('is never what others lease', async () => {
    const range = [24_040, 24_049] as const
    const leased = [24_040, 24_042, 24_044, 24_046, 24_048]
    expect((await choose(5, range, leased)).sort()).toEqual([
      24_041, 24_043, 24_045, 24_047, 24_049,
    ])
  })

  test('is listened on at once by whoever it was chosen for', async () => {
    const [port = 0] = await choose(1, [24_050, 24_059])
    const server = createServer().listen(port, '127.0.0.1')
    await once(server, 'listening')
    server.close()
  })
})

describe('a program of the host has the port', () => {
  test.each([
    ['TCP', '127.0.0.1', listenTcp],
    ['TCP', '0.0.0.0', listenTcp],
    ['TCP', '::', listenTcp],
    ['TCP', '::1', listenTcp],
    ['UDP', '127.0.0.1', bindUdp],
    ['UDP', '0.0.0.0', bindUdp],
    ['UDP', '::1', bindUdp],
  ])('%s on %s', async (_, address, take) => {
    const port = await take(address)
    const error = await choose(1, [port, port]).catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain(`0 leased to other VMs, 1 used by other programs (${port})`)
  })

  test('bound and not listened on', async () => {
    const bind = `import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True); input()`
    const python = host.openPty('python3', ['-c', bind])
    onTestFinished(() => python.kill())
    const printed = Promise.withResolvers<number>()
    python.onData((data) => printed.resolve(Number(Buffer.from(data).toString())))
    const port = await printed.promise
    await expect(choose(1, [port, port])).rejects.toThrow(', 0 free: ')
  })

  test('the free one of two is taken', async () => {
    await listenTcp('127.0.0.1', 24_065)
    expect(await choose(1, [24_064, 24_065])).toEqual([24_064])
  })
})

describe('told clearly', () => {
  test('too few', async () => {
    const error = await choose(3, [24_060, 24_063], [24_060, 24_061, 9]).catch((error) => error)
    expect(error.message).toContain('needs 3 host ports of 24060 to 24063, 2 free: ')
    expect(error.message).toContain('2 leased to other VMs, 0 used by other programs\n')
  })

  test.each([[[20, 10]], [[0, 10]], [[1, 70_000]], [[1.5, 3]], [[1]], [[1, 2, 3]], ['1-2'], [7]])(
    '%j is no range',
    (bad) => {
      expect(() => checkRange('ports', bad)).toThrow(UsageError)
    },
  )

  test('a range of one', () => {
    expect(checkRange('ports', [7, 7])).toEqual([7, 7])
  })
})
