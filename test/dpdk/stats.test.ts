import { expect, test } from 'vitest'
import { parseForwardStats, parsePortInfo, parsePortStats } from '../../src/dpdk/stats.ts'
import { GuestError } from '../../src/errors.ts'

// As dpdk-testpmd 22.11.11 prints it. The layout is its own; most of its counters were 0, and are other
// numbers here so that no two can be taken for each other.
const PORT_STATS = `
  ######################## NIC statistics for port 0  ########################
  RX-packets: 5160864    RX-missed: 12         RX-bytes:  330295296
  RX-errors: 3
  RX-nombuf:  4         
  TX-packets: 7          TX-errors: 8          TX-bytes:  448

  Throughput (since last show)
  Rx-pps:      2423152          Rx-bps:   1240653856
  Tx-pps:            5          Tx-bps:            6
  ############################################################################
`
const STOP = `Telling cores to stop...
Waiting for lcores to finish...

  ------- Forward Stats for RX Port= 0/Queue= 1 -> TX Port= 1/Queue= 1 -------
  RX-packets: 99             TX-packets: 98             TX-dropped: 97            

  ---------------------- Forward statistics for port 0  ----------------------
  RX-packets: 0              RX-dropped: 0             RX-total: 0
  TX-packets: 5160864        TX-dropped: 924704        TX-total: 6085568
  ----------------------------------------------------------------------------

  ---------------------- Forward statistics for port 1  ----------------------
  RX-packets: 3526656        RX-dropped: 1             RX-total: 3526657
  TX-packets: 0              TX-dropped: 0             TX-total: 0
  ----------------------------------------------------------------------------

  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 3526656        RX-dropped: 1             RX-total: 3526657
  TX-packets: 5160864        TX-dropped: 924704        TX-total: 6085568
  ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++

Done.
`
const INFO = `
********************* Infos for port 1  *********************
MAC address: 56:48:4F:53:54:01
Device name: net_vhost1
Driver name: net_vhost
Firmware-version: not available
Devargs: iface=/tmp/s1
Connect to socket: 0
memory allocation on the socket: 0
Link status: down
Link speed: 10 Gbps
Link duplex: full-duplex
Autoneg status: Off
MTU: 1500
Promiscuous mode: enabled
Allmulticast mode: enabled
Maximum number of MAC addresses: 1
VLAN offload: 
  strip off, filter off, extend off, qinq strip off
No RSS offload flow type is supported.
Current number of RX queues: 1
Max possible RX queues: 1
Current number of TX queues: 2
`

test('port statistics, every counter of them', () => {
  expect(parsePortStats(PORT_STATS)).toEqual([
    {
      port: 0,
      ...{ rxPackets: 5_160_864, rxMissed: 12, rxBytes: 330_295_296, rxErrors: 3, rxNombuf: 4 },
      ...{ txPackets: 7, txErrors: 8, txBytes: 448 },
      ...{ rxPps: 2_423_152, rxBps: 1_240_653_856, txPps: 5, txBps: 6 },
    },
  ])
})

test('statistics of several ports keep apart', () => {
  const second = PORT_STATS.replace('port 0', 'port 12').replace('5160864', '1')
  expect(
    parsePortStats(PORT_STATS + second).map(({ port, rxPackets }) => [port, rxPackets]),
  ).toEqual([
    [0, 5_160_864],
    [12, 1],
  ])
})

test('a counter that is missing is an error, not a zero', () => {
  const broken = PORT_STATS.replace('RX-missed', 'RX-mist')
  expect(() => parsePortStats(broken)).toThrow(GuestError)
  expect(() => parsePortStats(broken)).toThrow('it has no rxMissed')
})

test('forward statistics, streams of single queues left aside', () => {
  const none = { txPackets: 0, txDropped: 0, txTotal: 0 }
  const sent = { txPackets: 5_160_864, txDropped: 924_704, txTotal: 6_085_568 }
  const received = { rxPackets: 3_526_656, rxDropped: 1, rxTotal: 3_526_657 }
  expect(parseForwardStats(STOP)).toEqual({
    ports: [
      { port: 0, rxPackets: 0, rxDropped: 0, rxTotal: 0, ...sent },
      { port: 1, ...received, ...none },
    ],
    total: { ...received, ...sent },
  })
})

test('forward statistics without a sum are refused', () => {
  expect(() => parseForwardStats('Done.\n')).toThrow('Accumulated forward statistics')
})

test('what a port is', () => {
  expect(parsePortInfo(INFO)).toEqual({
    port: 1,
    mac: '56:48:4f:53:54:01',
    device: 'net_vhost1',
    driver: 'net_vhost',
    link: 'down',
    speed: '10 Gbps',
    mtu: 1500,
    promiscuous: true,
    rxQueues: 1,
    txQueues: 2,
  })
  expect(parsePortInfo(INFO.replace('status: down', 'status: up')).link).toBe('up')
})

test('a port without a link status is refused', () => {
  expect(() => parsePortInfo(INFO.replace(/Link status.*/, ''))).toThrow('it has no Link status')
})
