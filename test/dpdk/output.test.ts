import { expect, test } from 'vitest'
import { Matcher } from '../../src/console/pattern.ts'
import { cleanOutput, findComplaint, PROMPT } from '../../src/dpdk/output.ts'

const VHOST = 'VHOST_CONFIG: (/run/x/s0) read message VHOST_USER_SET_VRING_CALL\n'
const EVENT = '\nPort 0: link state change event\n'

/** Where the prompt was found, when `text` came in pieces of `size` characters. */
function promptIn(text: string, size: number) {
  const matcher = new Matcher(PROMPT)
  for (let at = 0; at < text.length; at += size) {
    const match = matcher.push(text.slice(at, at + size))
    if (match) return match
  }
  return undefined
}

test.each([1, 2, 7, 1000])('the prompt is found in pieces of %i characters', (size) => {
  expect(promptIn('Done\ntestpmd> ', size)).toMatchObject({ from: 5 })
})

test.each([
  ['a log line', `Done\ntest${VHOST}pmd> `],
  ['several', `Done\nt${VHOST}${VHOST}estpmd>${VHOST} `],
  ['an event', `Done\ntestpm${EVENT}d> `],
])('the prompt is found where %s stands in the middle of it', (_, text) => {
  expect(promptIn(text, 3)).toMatchObject({ from: 5, to: text.length })
})

test('what only looks like the beginning of a prompt is none', () => {
  expect(promptIn('testpmd: create a new mbuf pool\ntestpmd>\n', 4)).toBeUndefined()
})

test.each([
  ['nothing else', 'show port stats 0\nRX\n'],
  ['a log line in the echo', `show po${VHOST}rt stats 0\nRX\n`],
  ['an event in the echo', `show po${EVENT}rt stats 0\nRX\n`],
  ['a log line before the echo', `${VHOST}show port stats 0\nRX\n`],
  ['log lines in the output', `show port stats 0\n${VHOST}${VHOST}RX\n${VHOST}`],
  ['an event behind the output', `show port stats 0\nRX\n${EVENT}`],
  ['no echo', 'RX\n'],
])('output is clean: %s', (_, output) => {
  expect(cleanOutput(output, 'show port stats 0')).toBe('RX\n')
})

test('empty lines and what is like a log line stay', () => {
  const output = 'stop\nPort 0: 52:54:00:01:00:00\n\nsee VHOST_CONFIG\n\nDone.\n'
  expect(cleanOutput(output, 'stop')).toBe(output.slice('stop\n'.length))
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
