import { expect, test } from 'vitest'
import { findComplaint, withoutEvents, withoutLogs } from '../../src/dpdk/output.ts'

const EVENT = '\nPort 0: link state change event\n'
const TABLE = '\n  ### NIC statistics\n  RX-packets: 7\n'

test.each([
  ['none', TABLE],
  ['one before it', EVENT + TABLE],
  ['two before it', EVENT + EVENT + TABLE],
  ['one in the midst of a line', TABLE.replace('packets', `pack${EVENT}ets`)],
  ['one of another kind behind it', `${TABLE}\nPort 12: VF mbox event\n`],
  ['one whose empty line was taken for the end of the echo', `${EVENT.slice(1)}\n${TABLE}`],
  ['two of those', `${EVENT.slice(1)}\n${EVENT.slice(1)}\n${TABLE}`],
])('an answer is without the events of ports: %s', (_, text) => {
  expect(withoutEvents(text)).toBe(TABLE)
})

test('empty lines and what is like an event stay', () => {
  const text = '\nPort 0: 52:54:00:01:00:00\n\nPort 0 is in no event\n\nDone.\n'
  expect(withoutEvents(text)).toBe(text)
})

test.each([
  ['VHOST_CONFIG: (/s0) vhost peer closed\nInvalid port 9\n', 'Invalid port 9\n'],
  ['virtio_dev_info_get(): info\nEAL: x\n', ''],
  ['nb pkt per burst: 9999 > 512  ignored\n', 'nb pkt per burst: 9999 > 512  ignored\n'],
])('of %j on standard error %j is testpmd’s own', (stderr, own) => {
  expect(withoutLogs(stderr)).toBe(own)
})

test.each([
  ['nonsense\nCommand not found\n', 'Command not found'],
  ['set fwd foo\nBad arguments\n', 'Bad arguments'],
  ['show port stats 9\nInvalid port 9\nThe valid ports array is [ 0 1 ]\n', 'Invalid port 9'],
  ['start\nNot all ports were started\n', 'Not all ports were started'],
  ['start\nPacket forwarding already started\n', 'Packet forwarding already started'],
  ['stop\nPacket forwarding not started\n', 'Packet forwarding not started'],
  ['port config all txd 8\nPlease stop all ports first\n', 'Please stop all ports first'],
  ['set nbport 9\nnb fwd ports 9 > 2 (number of configured ports) - ignored\n', 'nb fwd ports 9'],
  [
    'set burst 9999\nnb pkt per burst: 9999 > 512 (maximum packet per burst)  ignored\n',
    'nb pkt per burst: 9999',
  ],
  [
    'set txpkts 9999999\nlength[0]=9999999 > mbuf_data_size=2176 - give up\n',
    'length[0]=9999999 > mbuf_data_size=2176 - give up',
  ],
  ['Fail to configure port 0\nStart ports failed\n', 'Start ports failed'],
  ['port start all\nPort 0 is now not stopped\nDone\n', 'Port 0 is now not stopped'],
  [
    'VHOST_CONFIG: (/s0) failed to bind: Address already in use; remove it and try again\n',
    'failed to bind: Address already in use',
  ],
])('a complaint is heard in %j', (output, line) => {
  expect(findComplaint(output)?.line).toContain(line)
})

test.each([
  'set txpkts 32,32,64\n',
  'set fwd txonly\nSet txonly packet forwarding mode\n',
  'Stopping ports...\nChecking link statuses...\nDone\n',
  'No RSS offload flow type is supported.\nDevice error handling mode: none\n  RX-errors: 0\n',
  'Warning! port-topology=paired and odd forward ports number, the last port will pair with itself.\n',
  'Error during enabling promiscuous mode for port 0: Operation not supported - ignore\n',
  'VHOST_CONFIG: (/s0) failed to connect: No such file or directory\n',
])('%j is no complaint', (output) => {
  expect(findComplaint(output)).toBeUndefined()
})
