import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { InfrastructureError, UsageError } from '../../src/errors.ts'
import type { Pty } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { LEASE_TAKEN, leaseCommand, type PortLease, withPorts } from '../../src/lease/ports.ts'
import { poll } from '../../src/wait.ts'
import { holdLeases } from './hold-leases.ts'
import { useLockDir } from './lock-dir.ts'
import { startProcess, type TestProcess } from './process.ts'

const locks = useLockDir()
let host = localHost()
beforeEach(() => {
  host = localHost() // it remembers its folder, and each test has its own
})
const processes: TestProcess[] = []
const programs: Pty[] = []

afterEach(async () => {
  await Promise.all(processes.splice(0).map((process) => process.kill()))
  for (const program of programs.splice(0)) {
    program.kill()
    await program.exited
  }
})

function start(...args: (string | number)[]): TestProcess {
  const process = startProcess('take-ports.ts', args, { lockDir: locks.path })
  processes.push(process)
  return process
}

function hold(...leases: PortLease[]) {
  const lockFiles = leases.map((lease) => lease.lockFile)
  const program = holdLeases(host, lockFiles)
  programs.push(program)
  return program
}

/** Ports that nobody else of this machine is likely to ask for: one range for each test. */
let next = 23_000
const range = (count: number): [number, number] => {
  next += count
  return [next - count, next - 1]
}

const take = (from: readonly [number, number], fn = async (leases: PortLease[]) => leases) =>
  withPorts({ host, wanted: [{}], range: from }, fn)

describe('choosing', () => {
  test('several at once are different, in the range, and in the order wanted', async () => {
    const [first, last] = range(30)
    const wanted = [{}, { protocol: 'udp' as const }, { protocol: 'tcp' as const }]
    await withPorts({ host, wanted, range: [first, last] }, (leases) => {
      expect(leases.map((lease) => lease.protocol)).toEqual(['tcp', 'udp', 'tcp'])
      expect(leases[0]?.port).not.toBe(leases[2]?.port)
      for (const { port } of leases) {
        expect(port).toBeGreaterThanOrEqual(first)
        expect(port).toBeLessThanOrEqual(last)
      }
    })
  })

  test('none wanted: none given, and no folder is needed', async () => {
    expect(await withPorts({ host, wanted: [] }, (leases) => leases)).toEqual([])
  })

  test('four processes that take eight each of forty never get the same', async () => {
    const [first, last] = range(40)
    const all = Array.from({ length: 4 }, () => start(8, first, last))
    const ports = (await Promise.all(all.map((process) => process.line()))).join(' ').split(' ')
    expect(ports).toHaveLength(32)
    expect(new Set(ports).size).toBe(32)
  })

  // Each terminal that is being opened has, for a moment, a copy of every file of this process.
  test('many at once within a process, each for a program on a terminal', async () => {
    const from = range(100)
    const all = Array.from({ length: 40 }, () =>
      withPorts({ host, wanted: [{}], range: from }, async ([lease]) => {
        await hold(lease!).up
        return lease!.port
      }),
    )
    expect(new Set(await Promise.all(all)).size).toBe(40)
  })

  test('what fn gives and throws comes through, and the claims are gone after both', async () => {
    const one = range(1)
    expect(await take(one, async ([lease]) => [lease!])).toMatchObject([{ port: one[0] }])
    const failing = take(one, () => Promise.reject(new Error('QEMU is missing')))
    await expect(failing).rejects.toThrow('QEMU is missing')
    expect(await take(one)).toMatchObject([{ port: one[0] }])
  })

  test('a second wish that cannot be met lets go of the first', async () => {
    const one = range(1)
    const two = withPorts({ host, wanted: [{}, {}], range: one }, () => 'both')
    await expect(two).rejects.toThrow(`no tcp port of ${one[0]} to ${one[1]} is free`)
    expect(await take(one)).toHaveLength(1)
  })
})

describe('others have it', () => {
  test('claimed by another process that has not started its program yet', async () => {
    const [first, last] = range(1)
    const other = start(1, first, last, 'early')
    expect(await other.line()).toBe(String(first))
    await expect(take([first, last])).rejects.toThrow('1 are leased by other VMs')
    await other.kill()
    expect(await take([first, last])).toMatchObject([{ port: first }])
  })

  test('leased by a program, for as long as it lives and not longer', async () => {
    const one = range(1)
    const program = await withPorts({ host, wanted: [{}], range: one }, async ([lease]) => {
      const program = hold(lease!)
      await program.up
      return program
    })
    await expect(take(one)).rejects.toThrow('1 are leased by other VMs')
    program.kill()
    await program.exited
    expect(await take(one)).toMatchObject([{ port: one[0] }])
  })

  test('the process that started it is killed: program and lease go with it', async () => {
    const [first, last] = range(1)
    const other = start(1, first, last)
    expect(await other.line()).toBe(String(first))
    await expect(take([first, last])).rejects.toThrow('is free')
    const killedAt = performance.now()
    await other.kill()
    await poll(() => take([first, last]).catch(() => undefined), { timeoutMs: 5000 })
    expect(performance.now() - killedAt).toBeLessThan(2000)
  })

  test('a program that listens on the port, also on all addresses', async () => {
    for (const address of ['127.0.0.1', '0.0.0.0']) {
      const server = createServer().listen(0, address)
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      await expect(take([port, port])).rejects.toThrow('1 are used by other programs')
      server.close()
    }
  })

  test('a program that has bound the port and does not listen', async () => {
    const [port] = range(1)
    const bind = `import socket; s = socket.socket(); s.bind(("127.0.0.1", ${port})); print("bound", flush=True); input()`
    const python = host.openPty('python3', ['-c', bind])
    programs.push(python)
    const bound = Promise.withResolvers<void>()
    python.onData(() => bound.resolve())
    await bound.promise
    await expect(take([port, port])).rejects.toThrow('1 are used by other programs')
  })

  test('UDP and TCP are asked apart', async () => {
    const socket = createSocket('udp4').bind(0, '127.0.0.1')
    await once(socket, 'listening')
    const { port } = socket.address()
    const udp = withPorts({ host, wanted: [{ protocol: 'udp' }], range: [port, port] }, () => 'ran')
    await expect(udp).rejects.toThrow(`no udp port of ${port} to ${port} is free`)
    expect(await take([port, port])).toMatchObject([{ port }])
    socket.close()
  })

  test('of two ports the free one is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const [lease] = await take([port - 1, port])
    expect(lease?.port).toBe(port - 1)
    server.close()
  })
})

describe('the command', () => {
  const args = ['flock', '--no-fork', '--nonblock', '--conflict-exit-code', '99']

  test('is a chain that ends in the program, or the program alone', () => {
    expect(leaseCommand([], ['qemu', '-M', 'q35'])).toEqual(['qemu', '-M', 'q35'])
    expect(leaseCommand(['/a', '/b'], ['qemu'])).toEqual([...args, '/a', ...args, '/b', 'qemu'])
  })

  test('becomes the program: same process, options of its own untouched', async () => {
    await withPorts({ host, wanted: [{}, {}], range: range(20) }, async (leases) => {
      const lockFiles = leases.map((lease) => lease.lockFile)
      const [file = '', ...rest] = leaseCommand(lockFiles, ['sh', '-c', 'echo $$ "$@"', 'sh', '-x'])
      const terminal = host.openPty(file, rest)
      let text = ''
      terminal.onData((data) => {
        text += Buffer.from(data).toString()
      })
      await terminal.exited
      expect(text).toBe(`${terminal.pid} -x\r\n`)
    })
  })

  test('all or none: with one lease taken it ends with its status and holds nothing', async () => {
    await withPorts({ host, wanted: [{}, {}], range: range(20) }, async ([one, two]) => {
      await hold(two!).up
      const both = hold(one!, two!)
      expect(await both.exited).toEqual({ exitCode: LEASE_TAKEN })
      await hold(one!).up
    })
  })
})

describe('told clearly', () => {
  test('nothing free: counts of who has them', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const error = await take([port, port]).catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.hint).toContain('0 are leased by other VMs, 1 are used by other programs')
    server.close()
  })

  test('an address that the host does not have', async () => {
    const elsewhere = withPorts({ host, wanted: [{}], address: '192.0.2.7' }, () => 'ran')
    await expect(elsewhere).rejects.toThrow('no program can listen on 192.0.2.7')
    await expect(elsewhere).rejects.toThrow('name an address that this host has')
  })

  test.each([[[20, 10]], [[0, 10]], [[1, 70_000]], [[1.5, 3]]] as const)(
    '%s is no range',
    async (bad) => {
      await expect(take(bad)).rejects.toThrow(UsageError)
    },
  )

  test('aborted: the reason, and no claim is left', async () => {
    const one = range(1)
    const signal = AbortSignal.abort(new Error('enough'))
    const given = withPorts({ host, wanted: [{}], range: one, signal }, () => 'ran')
    await expect(given).rejects.toThrow('enough')
    expect(await take(one)).toHaveLength(1)
  })
})
