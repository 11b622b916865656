import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  dutTest,
  expect,
  GuestError,
  InfrastructureError,
  link,
  UsageError,
  type Vm,
} from 'vitest-dut'
import { bootSector } from '../support/boot-sector.ts'
import { debianDisk, ROOT, TESTER } from '../support/disk.ts'

/*
 * Guests of users' own: a real Debian disk with systemd, a getty on its serial line and a loader that
 * boots it; and disks of one sector, for what goes wrong before anything has booted.
 */

const test = dutTest({ vms: 0, bootTimeout: '5m' })
/** What boots a Debian, which takes half a minute: side by side. */
const slow = test.concurrent
const PATIENCE = { timeout: 900_000 }

const dir = mkdtempSync(join(tmpdir(), 'dut-foreign-'))
test.afterAll(() => rmSync(dir, { recursive: true }))

let debian: Awaited<ReturnType<typeof debianDisk>>
test.beforeAll(async () => {
  debian = await debianDisk()
}, 600_000)

const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')

const failure = (start: Promise<Vm>) =>
  start.then(
    () => expect.unreachable(),
    (error: unknown) => error as GuestError,
  )

/** One shape, so that it is booted once. */
const specOf = () => ({
  ...{ guest: { disk: debian.disk }, login: ROOT, agent: true, devices: [link('lan')] },
})

const NICS = `for nic in /sys/class/net/e*; do cat $nic/address; done`

slow(
  'four VMs from one image, each with an identity and changes of its own',
  PATIENCE,
  async ({ dut }) => {
    const { disk } = debian
    const before = sha256(disk)
    const vms = await dut.startAll([specOf(), specOf(), specOf(), specOf()])
    expect(vms.map((vm) => vm.startedBy)).toEqual(['clone', 'clone', 'clone', 'clone'])
    const facts = await Promise.all(
      vms.map(async (vm) => {
        const { outputs } = await vm.cmd(['hostname; id -un', 'tty', 'systemctl is-system-running'])
        expect(outputs.slice(0, 2)).toEqual([`${vm.name}\nroot\n`, '/dev/ttyS0\n'])
        expect((await vm.agent.exec('hostname')).stdout).toBe(`${vm.name}\n`)
        await vm.exec(`echo ${vm.name} >/root/mine && sync`, { check: true })
        const script = `cat /etc/machine-id /root/mine; head -c 32 /dev/urandom | od -An -tx1; ${NICS}`
        const { stdout } = await vm.exec(script, { check: true })
        expect(stdout).toContain(`\n${vm.name}\n`)
        return stdout.replace(`${vm.name}\n`, '').trim().split('\n')
      }),
    )
    for (let i = 0; i < (facts[0]?.length ?? 0); i++) {
      expect(new Set(facts.map((lines) => lines[i])).size, `line ${i}`).toBe(4)
    }
    const [a, b] = vms as [Vm, Vm]
    await a.exec('ip address add 10.0.0.1/24 dev eth0; ip link set eth0 up', { check: true })
    await b.exec('ip address add 10.0.0.2/24 dev eth0; ip link set eth0 up', { check: true })
    const { stdout } = await b.exec('ping -c 3 -W 5 10.0.0.1')
    expect(stdout).toContain(' 0% packet loss')
    await Promise.all(vms.map((vm) => dut.stop(vm)))
    expect(sha256(disk)).toBe(before)
  },
)

slow('a clone does all that the built-in guest does', PATIENCE, async ({ dut }) => {
  const vm = await dut.start(specOf())
  expect(vm.startedBy).toBe('clone')
  expect(vm.kernelLog).toContain('Linux version')
  const long = 'x'.repeat(6000)
  expect((await vm.cmd(`echo ${long}`, '', '60s')).output).toBe(`${long}\n`)
  // The kernel may say what it likes: it is not in a command's output.
  await vm.cmd('echo "<4>hello from the kernel" >/dev/kmsg')
  expect((await vm.cmd('echo quiet')).output).toBe('quiet\n')

  const bytes = crypto.getRandomValues(new Uint8Array(60_000))
  await vm.copyIn(bytes, '/root/folder/file')
  expect(Buffer.from(bytes).equals(await vm.copyOut('/root/folder/file'))).toBe(true)
  const session = await vm.session()
  expect((await session.cmd('tty')).output).toMatch(/^\/dev\/pts\/\d+\n$/)
  // It was started from the console's shell and stays when that goes.
  await vm.cmd('v=before')
  const snapshot = await vm.snapshot()
  await vm.cmd('v=after; rm /root/folder/file; sync')
  await vm.restore(snapshot)
  expect((await vm.cmd('echo $v; ls /root/folder')).output).toBe('before\nfile\n')
  // A udev that takes its time to name a NIC.
  const rule = 'SUBSYSTEM=="net", ACTION=="add", PROGRAM="/bin/sleep 1", NAME="lan0"\n'
  await vm.copyIn(rule, '/etc/udev/rules.d/10-lan.rules')
  await vm.exec('udevadm control --reload', { check: true })
  const nic = await vm.plug(link('lan'))
  expect(nic.netdev).toBe('lan0')
  expect((await vm.exec('cat /sys/class/net/lan0/address')).stdout).toBe(`${nic.mac}\n`)
  await vm.unplug(nic)
  expect(JSON.stringify(vm.spec)).not.toContain('password')
  expect(vm.console.text).not.toMatch(/Password: *\S*dut/)
  await vm.shutdown({ timeout: '2m' })
  expect(vm.state).toBe('stopped')
})

slow('a kernel of its own, and a disk for its root; a panic is told', PATIENCE, async ({ dut }) => {
  const { disk, kernel, initrd } = debian
  const append = 'root=/dev/vda2 console=ttyS0 net.ifnames=0 mitigations=off marked panic=-1'
  const vm = await dut.start({
    ...{ guest: { disk, kernel, initrd, append }, login: ROOT, boot: 'cold' },
  })
  expect(vm.startedBy).toBe('cold')
  expect((await vm.exec('hostname; cat /proc/cmdline')).stdout).toMatch(/^disk\n.*marked/)
  await vm.cmd('v=before')
  await vm.reset({ timeout: '5m' })
  expect((await vm.cmd('echo "[$v]"')).output).toBe('[]\n')
  expect((await vm.exec('echo again')).stdout).toBe('again\n')
  const crash = vm.cmd('echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger')
  await expect(crash).rejects.toThrow('kernel panic: sysrq triggered crash')
})

slow(
  'a user who is not root has a shell, and is told why there is no agent',
  PATIENCE,
  async ({ dut }) => {
    const vm = await dut.start({ guest: { disk: debian.disk, login: TESTER } })
    expect(vm.startedBy).toBe('cold')
    expect((await vm.cmd('id -un')).output).toBe('tester\n')
    for (const call of [vm.exec('true'), vm.session(), vm.copyIn('a', '/a'), vm.snapshot()]) {
      await expect(call).rejects.toThrow(UsageError)
    }
    await expect(vm.exec('true')).rejects.toThrow(/no agent in this guest: .*takes root/s)
    await expect(
      dut.start({ guest: { disk: debian.disk, login: TESTER }, boot: 'template' }),
    ).rejects.toThrow(/boot: 'template' cannot be: a guest that tester logs in to has no agent/)
    // Its power button does what the agent would.
    await vm.shutdown({ timeout: '2m' })
  },
)

slow('a wrong password is told, once, and is nowhere to be read', PATIENCE, async ({ dut }) => {
  const login = { user: 'root', password: 'geheim' }
  const error = await failure(dut.start({ guest: { disk: debian.disk, login } }))
  expect(error).toBeInstanceOf(GuestError)
  expect(error.message).toContain('did not let "root" in: "Login incorrect"')
  expect(error.tail?.match(/Login incorrect/g)).toHaveLength(1)
  expect(error.message + error.stack + error.tail).not.toContain('geheim')
})

slow('without a login there is the console', async ({ dut }) => {
  const vm = await dut.start({ guest: { disk: bootSector(dir, 'talks') } })
  await vm.console.expect('hello', '60s')
  await expect(vm.cmd('true')).rejects.toThrow(/nobody is logged in/)
  await expect(vm.exec('true')).rejects.toThrow(/its spec has no login/)
})

test('a disk that cannot be started from is named at once', async ({ dut }) => {
  const file = join(dir, 'text')
  writeFileSync(file, 'no image'.repeat(200))
  const start = (disk: string, format?: string) =>
    dut.start({ guest: { disk, ...(format && { format }), login: ROOT } })
  await expect(start(file)).rejects.toThrow(InfrastructureError)
  await expect(start(file)).rejects.toThrow(/text is no image that a machine can start from/)
  await expect(start(file, 'qcow2')).rejects.toThrow(/text is no qcow2 image/)
  await expect(start(join(dir, 'none'))).rejects.toThrow(/none is not there/)
  await expect(start(dir)).rejects.toThrow(/is a folder/)
})

test('a disk that another QEMU writes to is named', async ({ dut }) => {
  const disk = bootSector(dir, 'busy')
  const other = { guest: { disk: bootSector(dir, 'other') } }
  await dut.start({ ...other, disks: [{ file: disk, snapshot: false }] })
  const start = dut.start({ guest: { disk } })
  await expect(start).rejects.toThrow(InfrastructureError)
  await expect(start).rejects.toThrow(/busy[\s\S]*another QEMU has the image open/)
})
