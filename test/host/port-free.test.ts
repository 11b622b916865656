import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../src/host/local.ts'

const { portFree } = localHost()
const address = '127.0.0.1'

async function listenTcp(host = address): Promise<number> {
  const server = createServer().listen(0, host)
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function bindUdp(): Promise<number> {
  const socket = createSocket('udp4').bind(0, address)
  onTestFinished(() => void socket.close())
  await once(socket, 'listening')
  return socket.address().port
}

describe('a port', () => {
  test('that somebody listens on is not free, for that protocol only', async () => {
    const tcp = await listenTcp()
    expect(await portFree({ port: tcp, address, protocol: 'tcp' })).toBe(false)
    const udp = await bindUdp()
    expect(await portFree({ port: udp, address, protocol: 'udp' })).toBe(false)
  })

  test('that somebody listens on at every address is not free at any', async () => {
    const port = await listenTcp('0.0.0.0')
    expect(await portFree({ port, address, protocol: 'tcp' })).toBe(false)
  })

  test.each(['tcp', 'udp'] as const)(
    'is free, and still is when asked again: %s',
    async (protocol) => {
      const server = createServer().listen(0, address)
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      server.close()
      await once(server, 'close')
      for (let i = 0; i < 3; i++) expect(await portFree({ port, address, protocol })).toBe(true)
    },
  )

  test.each(['tcp', 'udp'] as const)(
    'of an address that is not this machine’s is no answer: %s',
    async (protocol) => {
      const question = { port: 40_000, address: '192.0.2.1', protocol }
      await expect(portFree(question)).rejects.toThrow('EADDRNOTAVAIL')
    },
  )
})
