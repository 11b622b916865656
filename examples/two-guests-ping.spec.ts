// Two guests on one Ethernet segment reach each other.
import { dutTest, expect, link } from 'vitest-dut'

const test = dutTest({
  vms: 2,
  vm: { memory: '256M', devices: [link('lan')] },
})

test('the guests reach each other', async ({ vms, annotate }) => {
  const [a, b] = vms
  // Commands, what each is to print ('': nothing special), how long each may take.
  await a.cmd(['ip addr add 10.0.0.1/24 dev eth0', 'ip link set eth0 up'], ['', ''], ['5s', '5s'])
  await b.cmd(['ip addr add 10.0.0.2/24 dev eth0', 'ip link set eth0 up'], ['', ''], ['5s', '5s'])

  const { stdout, exitCode } = await b.exec('ping -c 3 -i 0.2 10.0.0.1')

  expect(exitCode).toBe(0)
  expect(stdout).toContain(' 0% packet loss')
  const average = /= [\d.]+\/([\d.]+)\//.exec(stdout)?.[1]
  await annotate(`3 of 3 answers, ${average} ms on average`, 'ping')
})
