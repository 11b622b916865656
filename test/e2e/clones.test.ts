import { dutTest, expect, link, type Vm } from 'vitest-dut'
import { isRunning } from '../support/processes.ts'

const test = dutTest({ vms: 0 })

/** Each line as `name value`. */
const IDENTITY = `
echo "random $(od -An -tx1 -N32 /dev/urandom | tr -d ' \\n')"
echo "uuid $(cat /proc/sys/kernel/random/uuid)"
echo "bash $SRANDOM$SRANDOM"
echo "hostname $(cat /proc/sys/kernel/hostname)"
echo "nodename $(uname -n)"
echo "machine-id $(cat /etc/machine-id)"
echo "boot-id $(cat /proc/sys/kernel/random/boot_id)"
echo "mac $(cat /sys/class/net/eth0/address)"`

/** How far a guest's clock may be from the host's. */
const CLOCK_MS = 50

test('of 16 clones no two have anything of an identity in common, and all clocks are right', async ({
  dut,
}) => {
  const vms = await dut.startAll(Array.from({ length: 16 }, () => ({ devices: [link('lan')] })))
  expect(new Set(vms.map((vm) => vm.startedBy))).toEqual(new Set(['clone']))
  const said = await Promise.all(
    vms.map(async (vm) => (await vm.exec(IDENTITY, { check: true })).stdout),
  )
  const lines = said.flatMap((text) => text.trim().split('\n'))
  expect(lines).toHaveLength(16 * 8)
  for (const line of lines) expect(line).toMatch(/^[\w-]+ \S+$/)
  const shared = lines.filter((line) => lines.indexOf(line) !== lines.lastIndexOf(line))
  expect(shared).toEqual([])

  const names = vms.map(({ name }) => name)
  expect(lines.filter((line) => line.startsWith('hostname ')).map((l) => l.slice(9))).toEqual(names)
  // The shell on the console is the template's: what it made at its start is made anew.
  const ask = `prompt='\\h'; echo $HOSTNAME; echo $RANDOM$RANDOM; echo "\${prompt@P}"`
  const shells = await Promise.all(vms.map((vm) => vm.cmd(ask)))
  const [hosts, randoms, prompts] = [0, 1, 2].map((i) =>
    shells.map(({ output }) => output.split('\n')[i]),
  )
  expect(hosts).toEqual(names)
  expect(prompts).toEqual(names)
  expect(new Set(randoms).size).toBe(16)

  for (const vm of vms) {
    const before = Date.now()
    const { stdout } = await vm.exec('date +%s%3N; ls -d /var/run/dpdk 2>&1', { check: false })
    const [clock, dpdk] = stdout.trim().split('\n')
    expect(Number(clock), vm.name).toBeGreaterThan(before - CLOCK_MS)
    expect(Number(clock), vm.name).toBeLessThan(Date.now() + CLOCK_MS)
    expect(dpdk).toContain('No such file')
  }
})

test('a clone sends nothing before its guest does', async ({ dut }) => {
  const spec = { memory: '256M', devices: [link('lan')] } as const
  const up = (host: number) => `ip addr add 10.0.0.${host}/24 dev eth0; ip link set eth0 up`
  const listener = await dut.start(spec)
  await listener.exec(up(1), { check: true })
  const heard = await listener.spawn('tcpdump -n -l -i eth0', { prompt: 'listening on eth0' })
  const clone = await dut.start(spec)
  expect(clone.startedBy).toBe('clone')
  await clone.exec(`${up(2)}; ping -c 1 -w 10 10.0.0.1`, { check: true })
  await heard.expect('ICMP echo request', '10s')
  // QEMU would tell the network where the machine is now.
  expect(heard.console.text).not.toContain('Reverse Request')
})

test('64 at once answer, and then all are gone', { timeout: 300_000 }, async ({ dut }) => {
  const vms = await dut.startAll(Array.from({ length: 64 }, () => ({ memory: '256M' })))
  expect(new Set(vms.map((vm) => vm.startedBy))).toEqual(new Set(['clone']))
  const answers = await Promise.all(
    vms.map(async (vm) => (await vm.exec('hostname', { timeout: '2m' })).stdout.trim()),
  )
  expect(answers).toEqual(vms.map(({ name }) => name))
  const pids = vms.map(({ pid }) => pid)
  expect(pids.filter(isRunning)).toHaveLength(64)
  await Promise.all(vms.map((vm: Vm) => dut.stop(vm)))
  expect(pids.filter(isRunning)).toEqual([])
  expect(dut.vms).toEqual([])
})
