import { readdir, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type TestpmdOptions, testpmd } from '../../src/dpdk/index.ts'
import { CommandTimeoutError, InfrastructureError, UsageError } from '../../src/errors.ts'
import type { Dut } from '../../src/fleet/dut.ts'
import { hostDut, processesWith } from '../support/host-dut.ts'
import { withScope } from '../support/with-scope.ts'

let dut: Dut
beforeEach(() => {
  dut = hostDut()
})
afterEach(() => dut.close())

const NULLS = { vdevs: ['net_null0', 'net_null1'] }

async function refusal(options: TestpmdOptions): Promise<InfrastructureError> {
  const error = await testpmd(dut, options).then(
    () => undefined,
    (reason) => reason,
  )
  expect(error).toBeInstanceOf(InfrastructureError)
  return error
}

test('forwards, counts, and ends with status 0', async () => {
  const pmd = await testpmd(dut, NULLS)
  await pmd.start('rxonly')
  await expect.poll(async () => (await pmd.portStats(1)).rxPackets).toBeGreaterThan(1000)
  const { ports, total } = await pmd.stop()
  expect(ports.map(({ port }) => port)).toEqual([0, 1])
  expect(total.rxPackets).toBe(ports.reduce((sum, { rxPackets }) => sum + rxPackets, 0))
  expect(total.rxPackets).toBeGreaterThan(1000)
  await pmd.quit()
  expect(await pmd.program.exited).toBe(0)
  await pmd.close() // again: nothing
})

test('txonly sends packets of the sizes and bursts asked for', async () => {
  await using pmd = await testpmd(dut, NULLS)
  await pmd.setTxPackets([64, 200])
  await pmd.setBurst(16)
  await pmd.start('txonly')
  await expect.poll(async () => (await pmd.portStats(0)).txPackets).toBeGreaterThan(100)
  expect((await pmd.forwardStats()).total.txPackets).toBeGreaterThan(100)
  const { total } = await pmd.stop()
  expect(total.txPackets % 16).toBe(0)
  expect(await pmd.cmd('show config txpkts')).toContain('64,200')
  await pmd.clearStats()
  expect((await pmd.allPortStats()).map(({ txPackets }) => txPackets)).toEqual([0, 0])
})

test('packets of a ring device come back, each of them', async () => {
  await using pmd = await testpmd(dut, { vdevs: ['net_ring0'], args: ['--port-topology=loop'] })
  await pmd.start('io', { txFirst: 1 })
  await expect.poll(async () => (await pmd.portStats(0)).rxPackets).toBeGreaterThan(1000)
  const { total } = await pmd.stop()
  // The first burst is sent, not received, and is still under way at the end.
  expect(total.txPackets - total.rxPackets).toBe(32)
  expect(total.txDropped).toBe(0)
})

// The clear of one of these in nine is undone by the thread that polls.
test('counters at rest are cleared while forwarding goes on, each time', async () => {
  await using pmd = await testpmd(dut, { vdevs: ['net_ring0'], args: ['--port-topology=loop'] })
  for (let i = 0; i < 80; i++) {
    await pmd.start('rxonly', { txFirst: 1 })
    await expect.poll(async () => (await pmd.portStats(0)).rxPackets).toBe(32)
    await pmd.clearStats()
    expect(await pmd.portStats(0)).toMatchObject({ rxPackets: 0, txPackets: 0 })
    expect((await pmd.stop()).total).toMatchObject({ rxPackets: 0, txPackets: 0 })
  }
})

test('clearing counters that never rest comes to an end', async () => {
  await using pmd = await testpmd(dut, { vdevs: ['net_ring0'], args: ['--port-topology=loop'] })
  await pmd.start('io', { txFirst: 1 })
  await expect.poll(async () => (await pmd.portStats(0)).rxPackets).toBeGreaterThan(1000)
  await pmd.clearStats()
  await expect.poll(async () => (await pmd.portStats(0)).rxPackets).toBeGreaterThan(1000)
})

test('a port is described', async () => {
  await using pmd = await testpmd(dut, NULLS)
  expect(await pmd.portInfo(1)).toMatchObject({ port: 1, device: 'net_null1', link: 'up' })
  await pmd.waitLinkUp(1, { timeout: '1s' })
})

test('a vhost port without a guest has no link', async () => {
  const vdevs = [`net_vhost0,iface=${dut.dir}/s0`]
  await using pmd = await testpmd(dut, { vdevs })
  const error = await pmd.waitLinkUp(0, { timeout: '300ms' }).catch((reason) => reason)
  expect(error.message).toMatch(/link of testpmd's port 0 did not come up \(after \d/)
  expect(error.elapsedMs).toBeGreaterThanOrEqual(300)
  expect(error.elapsedMs).toBeLessThan(30_000) // the time where none is given
})

test.each([
  ['nonsense', 'Command not found'],
  ['set fwd foo', 'Bad arguments'],
  ['show port stats 9', 'Invalid port 9'],
  ['stop', 'Packet forwarding not started'],
  ['set burst 9999', 'ignored'],
])('%j is an error, and testpmd lives on', async (line, complaint) => {
  await using pmd = await testpmd(dut, NULLS)
  const error = await pmd.cmd(line).catch((reason) => reason)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toContain(complaint)
  expect(error.command).toBe(line)
  expect(await pmd.cmd(line, { check: false })).toContain(complaint)
  expect(await pmd.cmd('show port summary all')).toContain('net_null1')
})

test('forwarding with a stopped port is an error', async () => {
  await using pmd = await testpmd(dut, NULLS)
  await pmd.cmd('port stop 0')
  await expect(pmd.start()).rejects.toThrow(/Not all ports were started.*port start all/s)
})

test('a line that cmdline would cut, or act on, is refused', async () => {
  await using pmd = await testpmd(dut, NULLS)
  await expect(pmd.cmd(`set portlist ${'0,'.repeat(300)}0`)).rejects.toThrow(UsageError)
  await expect(pmd.cmd('start\nstop')).rejects.toThrow(UsageError)
  await expect(pmd.portStats(-1)).rejects.toThrow(UsageError)
})

test('a command that takes too long names what it waited for, and the next one is served', async () => {
  await using pmd = await testpmd(dut, NULLS)
  const pid = (await processesWith(dut, pmd.filePrefix))[0]
  await dut.exec(`kill -STOP ${pid}`)
  const late = pmd.cmd('show port stats 0', { timeout: '200ms' })
  const error = await late.catch((reason) => reason)
  expect(error).toBeInstanceOf(CommandTimeoutError)
  expect(error.shortMessage).toMatch(
    /^"show port stats 0" in .{1,81}: testpmd's prompt was not printed in time$/,
  )
  await dut.exec(`kill -CONT ${pid}`)
  expect(await pmd.cmd('show port summary 1')).toContain('net_null1')
})

test('a link that goes up and down all the time is in no answer, and in no prompt', async () => {
  const path = `${dut.dir}/s0`
  await using pmd = await testpmd(dut, {
    vdevs: [`net_vhost0,iface=${path}`],
    eal: ['--log-level=8'],
  })
  await pmd.start()
  const guest = () =>
    testpmd(dut, {
      vdevs: [`net_virtio_user0,path=${path}`],
      ...{ memory: 64, eal: ['--single-file-segments'] },
    })
  let isOver = false
  const asking = (async () => {
    let asked = 0
    for (; !isOver; asked++) {
      const answer = await pmd.cmd('show port stats all')
      expect(answer.trim().split('\n')).toHaveLength(10)
      expect(answer).not.toMatch(/VHOST|event|csum|vring|EAL/)
      expect(await pmd.portInfo(0)).toMatchObject({ device: 'net_vhost0', mtu: 1500 })
    }
    return asked
  })()
  asking.catch(() => {})
  for (let i = 0; i < 8; i++) await (await guest()).close()
  isOver = true
  expect(await asking).toBeGreaterThan(8)
  expect(pmd.program.console.text).toContain('VHOST_CONFIG')
  expect(pmd.program.console.text).toContain('link state change event')
})

test('its log lines are in no answer, and what it says of the command is', async () => {
  await using pmd = await testpmd(dut, { ...NULLS, eal: ['--log-level=8'] })
  expect(await pmd.cmd('show port stats 9', { check: false })).toBe(
    'Invalid port 9\nThe valid ports array is [ 0 1 ]\n',
  )
})

test('packets that its forwarding threads print all the time are no prompt', async () => {
  await using pmd = await testpmd(dut, { ...NULLS, nice: 10 })
  await pmd.cmd('set verbose 1')
  await pmd.start('csum')
  expect(await pmd.cmd('show port summary all')).toContain('net_null1')
  expect((await pmd.portStats(0)).rxPackets).toBeGreaterThan(0)
  expect((await pmd.stop()).total.rxPackets).toBeGreaterThan(0)
})

test('two at once do not know of each other', async () => {
  await using first = await testpmd(dut, NULLS)
  await using second = await testpmd(dut, NULLS)
  await Promise.all([first.start('rxonly'), second.start('txonly')])
  const [one, two] = await Promise.all([first.stop(), second.stop()])
  expect(one.total.txPackets).toBe(0)
  expect(two.total.rxPackets).toBe(0)
})

test('it stands back as far as it is asked to, as a process and as a session', async () => {
  await using pmd = await testpmd(dut, { ...NULLS, nice: 7 })
  const pid = (await processesWith(dut, pmd.filePrefix))[0]
  expect((await dut.exec(`ps -o nice= -p ${pid}`)).stdout.trim()).toBe('7')
  const autogroup = await dut.exec(`cat /proc/${pid}/autogroup 2>&1`)
  expect(autogroup.stdout).toMatch(autogroup.exitCode === 0 ? /nice 7$/m : /No such file/)
})

test('it ends with the test that started it', async () => {
  const { signal } = new AbortController()
  const prefix = await withScope(signal, async () => (await testpmd(dut, NULLS)).filePrefix)
  expect(await processesWith(dut, prefix)).toEqual([])
})

test('nothing of it is left when it was killed', async () => {
  const pmd = await testpmd(dut, NULLS)
  await dut.exec(`kill -KILL ${(await processesWith(dut, pmd.filePrefix))[0]}`)
  expect(await pmd.program.exited).toBe(137)
  await expect(pmd.cmd('stop')).rejects.toThrow('has ended with status 137')
  await pmd.close()
  expect(await readdir('/run/dpdk').catch(() => [])).not.toContain(pmd.filePrefix)
  const left = await dut.exec(`find ${dut.dir} -type f -o -type s`)
  expect(left.stdout).toBe('')
})

test('a file that stands where its socket would be', async () => {
  await dut.host.makeDir(dut.dir)
  await writeFile(`${dut.dir}/s0`, '')
  const error = await refusal({ vdevs: [`net_vhost0,iface=${dut.dir}/s0`] })
  expect(error.message).toContain('failed to bind: Address already in use')
  expect(error.tail).toContain('Start ports failed')
  expect(error.hint).toContain('remove the file')
  expect(await processesWith(dut, dut.dir)).toEqual([])
})

test.each<[string, TestpmdOptions, string, string]>([
  ['a device without a driver', { vdevs: ['net_foo0'] }, 'net_foo0', 'librte-net-'],
  ['an unknown option', { ...NULLS, args: ['--foo'] }, `unrecognized option '--foo'`, ''],
  ['a CPU that is not there', { ...NULLS, lcores: '0@0,1@999' }, '--lcores', 'not there'],
  ['too little memory', { ...NULLS, mbufs: 1 << 20 }, 'memory', 'fewer mbufs'],
  ['more queues than a device has', { ...NULLS, args: ['--rxq=2000'] }, 'rxq', 'as many queues'],
  ['options that do not go together', { ...NULLS, eal: ['--huge-unlink'] }, 'huge-unlink', 'eal'],
  [
    'too few buffers',
    { vdevs: ['net_ring0'], args: ['--mbuf-size=100', '--max-pkt-len=9000'] },
    '',
    '',
  ],
  ['no such program', { ...NULLS, program: 'dpdk-nope' }, 'No such file', 'dpdk-dev'],
  ['no such NIC', { ports: ['0000:99:00.0'], hugepages: false }, 'No probed', 'vdevs'],
  ['too few huge pages', { ...NULLS, hugepages: true, memory: 1 << 20 }, 'are free', 'reserve'],
])('does not start: %s', async (_, options, message, hint) => {
  const error = await refusal(options)
  expect(error.message).toContain(message)
  expect(error.hint ?? '').toContain(hint)
  expect(error.tail ?? '').not.toContain('EAL common options')
})
