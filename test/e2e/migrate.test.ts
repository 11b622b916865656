import { createHash, randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { dutTest, expect, link, type Vm } from 'vitest-dut'
import { waitFor } from '../../src/wait.ts'
import { leasesOfUs } from '../support/leases.ts'
import { isRunning } from '../support/processes.ts'

const test = dutTest({
  vms: 2,
  vm: ({ index }) => ({
    memory: '256M',
    boot: 'cold',
    devices: [link('lan', { mac: `52:54:00:0:0:${index}`.replace(':0:0:', ':00:00:0') })],
  }),
})

const ROUNDS = 5
const PING_MS = 20
const SOON = { timeout: 20_000 }

test.beforeAll(async ({ vms }) => {
  await Promise.all(
    vms.map((vm, i) =>
      vm.exec(`ip addr add 10.0.0.${i + 1}/24 dev eth0; ip link set eth0 up`, { check: true }),
    ),
  )
})

/** Its boot and what runs in it. */
const identity = async (vm: Vm) =>
  (await vm.exec('cat /proc/sys/kernel/random/boot_id; pgrep -f counter.sh; hostname')).stdout

test('a guest that counts and pings goes on, five times in a row', async ({ vms: [a, b] }) => {
  await a.copyIn(
    'exec {nap}<> <(:); while :; do echo $((n += 1)) 1<>/tmp/count; read -rt 0.01 -u $nap; done',
    '/root/counter.sh',
  )
  await a.exec('bash /root/counter.sh >/dev/null 2>&1 & disown', { check: true })
  const ping = await b.spawn(`ping -i ${PING_MS / 1000} 10.0.0.1`)
  await ping.expect('icmp_seq=5 ')
  const before = await identity(a)
  const pids = new Set([a.pid])
  let count = 0
  let mayBeLost = 0
  for (let round = 0; round < ROUNDS; round++) {
    const from = a.pid
    const { downtimeMs, totalMs, bytes, passes } = await a.migrate()
    expect(downtimeMs).toBeGreaterThan(0)
    expect(downtimeMs).toBeLessThan(totalMs)
    expect(bytes).toBeGreaterThan(2 ** 20)
    expect(passes).toBeGreaterThan(1)
    expect(isRunning(from)).toBe(false)
    expect(isRunning(a.pid)).toBe(true)
    pids.add(a.pid)
    mayBeLost += downtimeMs / PING_MS + 3
    expect(await identity(a)).toBe(before)
    const now = Number((await a.exec('cat /tmp/count')).stdout)
    expect(now).toBeGreaterThan(count)
    count = now
  }
  expect(pids.size).toBe(ROUNDS + 1)
  await ping.interrupt()
  await ping.expect('packet loss')
  const [, sent = 0, received = 0] =
    /(\d+) packets transmitted, (\d+) received/.exec(ping.console.text)?.map(Number) ?? []
  expect(sent).toBeGreaterThan(50)
  // Those that came between the stop of the one and the start of the other, and what was under way.
  expect(sent - received).toBeLessThanOrEqual(mayBeLost)
  expect(ping.console.text).not.toContain('DUP!')
  await a.exec('pkill -f counter.sh')
})

test.for(['unix', 'tcp'] as const)(
  'what is under way goes on, over %s',
  async (transport, { vm }) => {
    const session = await vm.session()
    const program = await vm.spawn('sed -u s/h/j/')
    const events = vm.events
    const input = randomBytes(3_000_000)
    const numbers = Array.from({ length: 20_000 }, (_, i) => `${i}\n`).join('')
    const under = [
      vm.cmd('for i in {1..60}; do echo "line $i"; sleep 0.005; done; echo $BASHPID'),
      session.cmd('x=1; sleep 1; echo "still here $x"'),
      vm.exec('for ((i = 0; i < 20000; i++)); do echo $i; done'),
      vm.exec('sha256sum', { input }),
    ] as const
    const shell = (await vm.exec('pgrep -o bash')).stdout
    await vm.migrate({ transport })
    const [typed, inSession, flood, hashed] = await Promise.all(under)
    const lines = Array.from({ length: 60 }, (_, i) => `line ${i + 1}\n`).join('')
    expect(typed.output.slice(0, lines.length)).toBe(lines)
    expect(inSession.output).toBe('still here 1\n')
    expect(flood.stdout).toBe(numbers)
    expect(hashed.stdout).toContain(createHash('sha256').update(input).digest('hex'))
    expect((await vm.exec('pgrep -o bash')).stdout).toBe(shell)
    program.console.write('hello\n')
    await program.expect('jello')
    // Whoever listened to QMP hears the other QEMU.
    await vm.pause()
    expect(vm.state).toBe('paused')
    await vm.resume()
    const heard: string[] = []
    for await (const { event } of events) {
      heard.push(event)
      if (event === 'RESUME' && heard.includes('STOP')) break
    }
    expect(vm.kernelLog).toContain('Linux version')
    await vm.exec('echo "from the other one" >/dev/kmsg')
    await expect.poll(() => vm.kernelLog, SOON).toContain('from the other one')
  },
)

test('what is typed while it moves arrives once, in order', async ({ vm }) => {
  const typed: string[] = []
  const reading = vm.cmd('stty -echo; cat >/tmp/typed; stty echo; echo $?')
  await expect.poll(async () => (await vm.exec('pgrep -x cat')).exitCode, SOON).toBe(0)
  const type = () => {
    const line = `${typed.length} ${'x'.repeat(40)}\n`
    typed.push(line)
    vm.console.write(line)
  }
  await vm.migrate({ onProgress: type })
  type()
  expect(typed.length).toBeGreaterThan(1) // meanwhile as well
  const arrived = async () => (await vm.exec('cat /tmp/typed')).stdout
  await expect.poll(arrived, SOON).toBe(typed.join(''))
  vm.console.write('\x04')
  expect((await reading).output).toMatch(/0\n$/)
})

test('what a program is typed that does not read yet is read over there', async ({ vm }) => {
  const waits =
    'touch /tmp/at; until [[ -e /tmp/go ]]; do sleep 0.05; done; cat >/tmp/late; echo $?'
  const reading = vm.cmd(waits)
  await expect.poll(async () => (await vm.exec('ls /tmp/at')).exitCode, SOON).toBe(0)
  // More than there is room for in the guest's terminal: the rest is still on the host then.
  const lines = Array.from({ length: 300 }, (_, i) => `${i} ${'y'.repeat(60)}\n`)
  for (const line of lines) vm.console.write(line)
  await vm.migrate()
  await vm.exec('touch /tmp/go')
  const arrived = async () => (await vm.exec('cat /tmp/late')).stdout
  await expect.poll(arrived, SOON).toBe(lines.join(''))
  vm.console.write('\x04')
  expect((await reading).output).toMatch(/0\n$/)
})

test('snapshots of before and after, plugged devices, forwards', async ({ dut }) => {
  const vm = await dut.start({ name: 'mover', memory: '192M', boot: 'cold' })
  await vm.cmd('x=before')
  const before = await vm.snapshot()
  const nic = await vm.plug(link('lan'))
  await vm.migrate()
  expect((await vm.ports()).map(({ pci, peer }) => ({ pci, peer }))).toEqual([
    { pci: nic.pci, peer: { kind: 'link', name: 'lan' } },
  ])
  await vm.cmd('x=after')
  await expect(vm.restore(before)).rejects.toThrow('devices were plugged')
  await vm.unplug(nic)
  await vm.restore(before)
  expect((await vm.cmd('echo $x')).output).toBe('before\n')
  const after = await vm.snapshot()
  await vm.cmd('x=lost')
  await vm.migrate()
  await vm.restore(after)
  expect((await vm.cmd('echo $x')).output).toBe('before\n')
  await vm.plug(link('lan'))
  expect(await vm.ports()).toHaveLength(1)
})

test('the ledger has two while they live, and then one', async ({ vm, dut }) => {
  const folder = `${dut.dir}/${vm.name}`
  const before = await leasesOfUs()
  const started = Promise.withResolvers<void>()
  const moving = vm.migrate({
    ...{ transport: 'tcp', bandwidth: '4M' },
    onProgress: ({ transferred }) => transferred > 0 && started.resolve(),
  })
  await Promise.race([started.promise, moving])
  const meanwhile = (await leasesOfUs()).filter(({ vm: name }) => name === vm.name)
  expect(meanwhile).toHaveLength(2)
  expect(meanwhile.map(({ qemu }) => qemu)).toContain(vm.pid)
  await vm.qmp('migrate-set-parameters', { 'max-bandwidth': 2 ** 33 })
  await moving
  const after = await leasesOfUs()
  expect(after.map(({ vm: name }) => name).toSorted()).toEqual(
    before.map(({ vm: name }) => name).toSorted(),
  )
  expect(after.find(({ vm: name }) => name === vm.name)).toMatchObject({ qemu: vm.pid })
  const inside = readdirSync(folder).filter((name) => /^\d+$/.test(name))
  expect(inside).toHaveLength(1)
  await waitFor(vm.migrate(), { timeoutMs: 60_000 })
  expect(readdirSync(folder).filter((name) => /^\d+$/.test(name))).not.toEqual(inside)
})
