import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { Drops } from '../../src/dpdk/drops.ts'
import {
  parseForwardStats,
  parsePortInfo,
  parsePortStats,
  parseXstat,
} from '../../src/dpdk/stats.ts'

/**
 * Answers of a testpmd with two vhost ports after port 1 had taken 256 packets of those that came in at
 * port 0.
 */
function recorded(version: string): (command: string) => string {
  const file = new URL(`../fixtures/dpdk/vhost-${version}.txt`, import.meta.url)
  const [, ...answers] = readFileSync(file, 'utf8').split('testpmd> ')
  return (command) => answers.find((answer) => answer.startsWith(`${command}\n`)) ?? ''
}

/** Counts what it is asked, beside answering. */
function asking(answer: (command: string) => string) {
  const asked: string[] = []
  const ask = (command: string) => {
    asked.push(command)
    return answer(command)
  }
  const drops = new Drops({
    driver: async () => parsePortInfo(ask('show port info 1')).driver,
    txErrors: async () => parseXstat(ask('show port xstats 1'), 'tx_errors') ?? Number.NaN,
  })
  return { asked, drops }
}

test.for(['22.11', '24.11'])('DPDK %s: each packet is taken or dropped, once', async (version) => {
  const answer = recorded(version)
  const { drops } = asking(answer)
  for (const command of ['show fwd stats all', 'stop']) {
    const { ports, total } = await drops.countedOnce(parseForwardStats(answer(command)), false)
    const [from, to] = ports
    expect(from?.rxPackets).toBeGreaterThan(1000)
    expect(from?.txDropped).toBe(0)
    expect(to).toMatchObject({ txPackets: 256, txTotal: from?.rxPackets })
    expect(256 + Number(to?.txDropped)).toBe(from?.rxPackets)
    expect(total).toMatchObject({ txDropped: to?.txDropped, txTotal: from?.rxPackets })
  }
})

test.for(['22.11', '24.11'])('DPDK %s: what a port is and has counted', (version) => {
  const answer = recorded(version)
  expect(parsePortInfo(answer('show port info 1'))).toMatchObject({
    ...{ port: 1, device: 'net_vhost1', driver: 'net_vhost', link: 'up', speed: '10 Gbps' },
    ...{ mtu: 1500, promiscuous: true, rxQueues: 1, txQueues: 1 },
  })
  const [, stats] = parsePortStats(answer('show port stats all'))
  expect(stats).toMatchObject({ port: 1, txPackets: 256, txBytes: 16_384 })
})

test('a counter that is not there is none', () => {
  expect(parseXstat('###### NIC extended statistics for port 1 \n', 'tx_errors')).toBeUndefined()
})

const forwarded = (txDropped: number) => ({
  ports: [
    {
      ...{ port: 1, rxPackets: 0, rxDropped: 0, rxTotal: 0 },
      ...{ txPackets: 0, txDropped, txTotal: txDropped },
    },
  ],
  total: { rxPackets: 0, rxDropped: 0, rxTotal: 0, txPackets: 0, txDropped, txTotal: txDropped },
})

/** A vhost port whose errors are those, one after another. */
function errors(...counts: number[]) {
  return new Drops({ driver: async () => 'net_vhost', txErrors: async () => counts.shift() ?? 0 })
}

test('errors of an earlier forwarding are not taken off again', async () => {
  const drops = errors(10, 13, 2, 4)
  const once = async (txDropped: number, isOver: boolean) =>
    (await drops.countedOnce(forwarded(txDropped), isOver)).total.txDropped
  expect(await once(20, true)).toBe(10)
  expect(await once(6, true)).toBe(3)
  expect(await once(4, true)).toBe(2) // somebody has cleared the port's counters
  drops.clear()
  expect(await once(8, false)).toBe(4)
})

test('a packet that no guest was there for is no error of the port, and stays', async () => {
  expect((await errors(0).countedOnce(forwarded(100), true)).total.txDropped).toBe(100)
  expect((await errors(10).countedOnce(forwarded(100), true)).total.txDropped).toBe(90)
})

test('a port of another kind is asked for its kind once, and for nothing else', async () => {
  const answer = (command: string) =>
    recorded('24.11')(command).replace('Driver name: net_vhost', 'Driver name: net_ring')
  const { asked, drops } = asking(answer)
  for (const isOver of [false, true]) {
    expect((await drops.countedOnce(forwarded(7), isOver)).total.txDropped).toBe(7)
  }
  expect(asked).toEqual(['show port info 1'])
})

test('nothing is asked where nothing was dropped', async () => {
  const { asked, drops } = asking(recorded('24.11'))
  await drops.countedOnce(forwarded(0), true)
  expect(asked).toEqual([])
})
