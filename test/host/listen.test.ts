import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import { LONGEST_SOCKET_PATH } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'

const host = localHost()
let dir = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'listen-'))
})
afterAll(() => rm(dir, { recursive: true }))

describe('a socket that is listened at', () => {
  test('gives its one peer, both ways, and is gone from the folder then', async () => {
    const path = join(dir, 'one')
    const { connection, close } = await host.listen(path)
    const peer = connect(path)
    const stream = await connection
    peer.write('to us')
    expect(String((await once(stream, 'data'))[0])).toBe('to us')
    stream.write('to you')
    expect(String((await once(peer, 'data'))[0])).toBe('to you')
    expect(await readdir(dir)).not.toContain('one')
    close()
    stream.end('still open')
    expect(String((await once(peer, 'data'))[0])).toBe('still open')
    peer.end()
    await once(stream.resume(), 'end')
  })

  test('takes no second peer', async () => {
    const path = join(dir, 'two')
    const { connection } = await host.listen(path)
    const peer = connect(path)
    const stream = await connection
    const [error] = await once(connect(path), 'error')
    expect(error.code).toMatch(/ENOENT|ECONNREFUSED/)
    peer.destroy()
    stream.destroy()
  })

  test('rejects when closed before anybody came, once or twice', async () => {
    const path = join(dir, 'closed')
    const { connection, close } = await host.listen(path)
    close()
    close()
    await expect(connection).rejects.toThrow(`nobody connected to ${path}`)
    expect(await readdir(dir)).not.toContain('closed')
  })

  test('need not be looked at by whoever closes it', async () => {
    const rejected: unknown[] = []
    const note = (error: unknown) => void rejected.push(error)
    process.on('unhandledRejection', note)
    const { close } = await host.listen(join(dir, 'unseen'))
    close()
    await new Promise(setImmediate)
    await new Promise(setImmediate)
    process.off('unhandledRejection', note)
    expect(rejected).toEqual([])
  })
})

describe('a socket that cannot be', () => {
  test('because its path is too long is an error that gives both lengths', async () => {
    // Two-byte letters: bytes count, not characters.
    const path = join(dir, 'é'.repeat(Math.ceil((LONGEST_SOCKET_PATH - dir.length) / 2)))
    expect(path.length).toBeLessThan(LONGEST_SOCKET_PATH)
    const error = await host.listen(path).catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain(`${path} is too long for a unix socket`)
    expect(error.message).toContain(`${Buffer.byteLength(path)} bytes, the most is 107`)
    expect(error.message).toContain('VITEST_DUT_RUN_DIR')
  })

  test('has one of exactly 107 bytes beside it, which can', async () => {
    const path = join(dir, 'x'.repeat(LONGEST_SOCKET_PATH - dir.length - 1))
    expect(path.length).toBe(107)
    await expect(host.listen(`${path}x`)).rejects.toThrow('108 bytes')
    const { connection, close } = await host.listen(path)
    const peer = connect(path)
    expect(await connection).toBeDefined()
    peer.destroy()
    close()
  })

  test.each([
    ['its folder is not there', 'none/x', 'EACCES|ENOENT'],
    ['somebody listens there', 'taken', 'EADDRINUSE'],
  ])('because %s', async (_, name, code) => {
    const { connection, close } = await host.listen(join(dir, 'taken'))
    await expect(host.listen(join(dir, name))).rejects.toThrow(new RegExp(code))
    close()
    await expect(connection).rejects.toThrow('nobody')
  })
})
