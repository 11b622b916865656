import { existsSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { testpmd, vhostSwitch } from '../../src/dpdk/index.ts'
import { InfrastructureError, UsageError } from '../../src/errors.ts'
import type { Dut } from '../../src/fleet/dut.ts'
import { hostDut, processesWith } from '../support/host-dut.ts'

let dut: Dut
beforeEach(() => {
  dut = hostDut()
})
afterEach(() => dut.close())

/** A testpmd that plays the guest: its virtio-user port is the other end of a vhost socket. */
function guest(path: string, { server = false } = {}) {
  const device = `net_virtio_user0,path=${path},server=${server ? 1 : 0}`
  return testpmd(dut, { vdevs: [device], memory: 64, eal: ['--single-file-segments'] })
}

test('is forwarding and can be connected to when the call resolves', async () => {
  await using sw = await vhostSwitch(dut, { ports: 4 })
  expect(sw.paths).toHaveLength(4)
  expect(sw.paths.every((path) => path.startsWith(dut.dir) && existsSync(path))).toBe(true)
  await expect(sw.testpmd.start()).rejects.toThrow('Packet forwarding already started')
  const { stdout } = await dut.exec('ss --unix --listening --no-header')
  for (const path of sw.paths) expect(stdout).toContain(path)
  const { ports } = await sw.testpmd.stop()
  expect(ports).toHaveLength(4)
})

test('hands packets from one port to its neighbour, and counts them', async () => {
  await using sw = await vhostSwitch(dut, { ports: 2 })
  await using a = await guest(sw.path(0))
  await using b = await guest(sw.path(1))
  await Promise.all([sw.testpmd.waitLinkUp(0), sw.testpmd.waitLinkUp(1)])
  await b.start('rxonly')
  await a.start('txonly')
  await expect.poll(async () => (await b.portStats(0)).rxPackets).toBeGreaterThan(1000)
  const sent = (await a.stop()).total.txPackets
  await expect.poll(async () => (await sw.testpmd.portStats(0)).rxPackets).toBe(sent)
  const { ports } = await sw.testpmd.stop()
  expect(ports[0]?.rxPackets).toBe(sent)
  expect(ports[1]?.txTotal).toBe(sent)
  await expect
    .poll(async () => (await b.portStats(0)).rxPackets)
    .toBe((await sw.testpmd.portStats(1)).txPackets)
})

test('counts what it drops also for a guest that has gone', async () => {
  await using sw = await vhostSwitch(dut, { ports: 2 })
  await using a = await guest(sw.path(0))
  await (await guest(sw.path(1))).close()
  await a.start('txonly')
  await expect.poll(async () => (await sw.testpmd.portStats(0)).rxPackets).toBeGreaterThan(1000)
  await a.stop()
  expect((await sw.testpmd.forwardStats()).total.txDropped).toBeGreaterThan(0)
  const { ports } = await sw.testpmd.stop()
  expect(ports[1]).toMatchObject({ txPackets: 0, txDropped: ports[0]?.rxPackets })
})

test('as a client it waits for the sockets of the others', async () => {
  await using sw = await vhostSwitch(dut, { ports: 2, client: true })
  expect(existsSync(sw.path(0))).toBe(false)
  expect(sw.port(0)).toEqual({ path: sw.path(0), queues: 1, server: true })
  await using _guest = await guest(sw.path(0), { server: true })
  await sw.testpmd.waitLinkUp(0, { timeout: '20s' })
})

test('two at once have sockets of their own', async () => {
  const [one, two] = await Promise.all([
    vhostSwitch(dut, { ports: 2 }),
    vhostSwitch(dut, { ports: 2, queues: 2, tso: true, topology: 'chained', mode: 'mac' }),
  ])
  expect(new Set([...one.paths, ...two.paths]).size).toBe(4)
  expect(two.port(1).queues).toBe(2)
  expect((await two.testpmd.portInfo(0)).rxQueues).toBe(2)
  await one.close()
  expect(existsSync(one.path(0))).toBe(false)
  expect(existsSync(two.path(0))).toBe(true)
})

test('goes with its DUT', async () => {
  const sw = await vhostSwitch(dut, { ports: 2 })
  await dut.close()
  expect(await processesWith(dut, sw.testpmd.filePrefix)).toEqual([])
  expect(existsSync(dut.dir)).toBe(false)
})

test('a mode that testpmd refuses leaves nothing behind', async () => {
  const starting = vhostSwitch(dut, { ports: 2, mode: 'nosuch' as 'io' })
  await expect(starting).rejects.toThrow(InfrastructureError)
  expect(await processesWith(dut, dut.dir)).toEqual([])
})

test.each<[object, string]>([
  [{ port: 2 }, 'did you mean "ports"?'],
  [{ ports: 0 }, 'ports'],
  [{ ports: 3 }, `an even number of ports, or topology: 'chained'`],
  [{ ports: 2, topology: 'star' }, `'paired', 'chained' or 'loop'`],
  [{ ports: 2, queues: 0 }, 'queues'],
])('%j is refused', async (options, message) => {
  const starting = vhostSwitch(dut, options as { ports: number })
  await expect(starting).rejects.toThrow(UsageError)
  await expect(vhostSwitch(dut, options as { ports: number })).rejects.toThrow(message)
})

test('a port that is not there', async () => {
  await using sw = await vhostSwitch(dut, { ports: 1, topology: 'loop' })
  expect(() => sw.path(1)).toThrow('it has ports 0 to 0')
  expect(() => sw.port(-1)).toThrow(UsageError)
})
