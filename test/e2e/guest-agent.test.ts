import { randomBytes } from 'node:crypto'
import {
  dutTest,
  expect,
  GuestAgentError,
  GuestError,
  UsageError,
  userNet,
  type Vm,
} from 'vitest-dut'
import { debianDisk, ROOT, TESTER } from '../support/disk.ts'

/*
 * The QEMU guest agent of a real Debian, where it is a service like any other.
 */

const test = dutTest({ vms: 0, bootTimeout: '5m' })
/** What boots a Debian, which takes half a minute: side by side. */
const slow = test.concurrent
const PATIENCE = { timeout: 900_000 }
const SERVICE = 'qemu-guest-agent.service'

let disk: string
test.beforeAll(async () => {
  disk = (await debianDisk()).disk
}, 600_000)

/** Of one shape, so that it is booted once. */
const specOf = () => ({
  ...{ guest: { disk }, login: ROOT, agent: true },
  devices: [userNet({ forward: [22] })],
})

slow('a clone’s agent runs commands and tells of the guest', PATIENCE, async ({ dut }) => {
  const vm = await dut.start(specOf())
  const { agent } = vm
  expect(vm.startedBy).toBe('clone')
  await agent.ping()
  const { version, commands } = await agent.info()
  expect(version).toMatch(/^\d+\.\d+/)
  expect(commands).toContainEqual({ name: 'guest-exec', enabled: true })
  expect(await agent.call('guest-get-host-name')).toEqual({ 'host-name': vm.name })

  const { stdout, stderr, exitCode, durationMs } = await agent.exec(
    'id -un; echo grüße; echo "$GREETING" >&2; cat; exit 7',
    { input: 'read', env: { GREETING: 'it’s "me"' } },
  )
  expect({ stdout, stderr, exitCode }).toEqual({
    ...{ stdout: 'root\ngrüße\nread', stderr: 'it’s "me"\n', exitCode: 7 },
  })
  expect(durationMs).toBeGreaterThan(0)
  expect(await agent.exec('cat')).toMatchObject({ stdout: '', stderr: '', exitCode: 0 })
  expect(await agent.exec('kill -KILL $$')).toMatchObject({ exitCode: 137 })
  expect(await agent.exec('echo $PATH', { env: { A: '1' } })).toMatchObject({
    stdout: expect.stringContaining('/usr/bin'),
  })
  const program = { path: '/usr/bin/env', args: ['printf', '%s|', 'a b', '$HOME'] }
  expect(await agent.exec(program, { env: { A: '1' } })).toMatchObject({ stdout: 'a b|$HOME|' })
  const bytes = randomBytes(300_000)
  const { stdoutBytes } = await agent.exec('cat', { input: bytes })
  expect(Buffer.from(bytes).equals(stdoutBytes)).toBe(true)
  await expect(agent.exec('echo why >&2; exit 3', { check: true })).rejects.toThrow(
    /"echo why >&2; exit 3" ended with status 3[\s\S]*why/,
  )
  const missing = agent.exec({ path: '/no/such/program' })
  await expect(missing).rejects.toBeInstanceOf(GuestAgentError)
  await expect(missing).rejects.toThrow(/refused guest-exec: .*\/no\/such\/program/)
  await expect(agent.call('guest-no-such')).rejects.toThrow(/guest-no-such[\s\S]*vm\.agent\.info/)
  await expect(agent.exec('exec sleep 1000', { timeout: '1s' })).rejects.toThrow(
    /"exec sleep 1000" did not end in time .*[\s\S]*runs on in the guest as process \d+/,
  )
  const many = Array.from({ length: 5 }, (_, i) => agent.exec(`echo ${i}`))
  const outputs = (await Promise.all(many)).map((one) => one.stdout)
  expect(outputs).toEqual(['0\n', '1\n', '2\n', '3\n', '4\n'])

  await vm.exec('ip address add 10.0.2.15/24 dev eth0; ip link set eth0 up', { check: true })
  const [port] = await vm.ports()
  const interfaces = await agent.networkInterfaces()
  expect(interfaces.find(({ name }) => name === 'eth0')).toMatchObject({
    mac: port?.mac,
    addresses: expect.arrayContaining([{ address: '10.0.2.15', family: 'ipv4', prefix: 24 }]),
  })
  expect(interfaces.find(({ name }) => name === 'lo')?.addresses).toContainEqual({
    ...{ address: '127.0.0.1', family: 'ipv4', prefix: 8 },
  })

  await agent.shutdown({ timeout: '2m' })
  expect(vm.state).toBe('stopped')
  await expect(agent.ping()).rejects.toThrow('the VM was stopped')
})

slow('the agents of two clones answer each for its own', PATIENCE, async ({ dut }) => {
  const vms = await dut.startAll([specOf(), specOf()])
  expect(vms.map(({ startedBy }) => startedBy)).toEqual(['clone', 'clone'])
  const names = await Promise.all(
    vms.map(async (vm) => (await vm.agent.exec('hostname')).stdout.trim()),
  )
  expect(names).toEqual(vms.map(({ name }) => name))
  expect(new Set(names).size).toBe(2)
})

slow('it answers after a restored snapshot, a reset and a restart', PATIENCE, async ({ dut }) => {
  const vm = await dut.start(specOf())
  const { agent } = vm
  await agent.exec('echo before >/run/mark', { check: true })
  const snapshot = await vm.snapshot()
  await agent.exec('echo after >/run/mark', { check: true })
  const meanwhile = (call: Promise<unknown>) =>
    call.then(
      () => 'no error',
      (error: Error) => error.message,
    )
  const isAsleep = async () => (await vm.exec('pgrep -x sleep')).exitCode === 0
  const early = meanwhile(agent.exec('sleep 1000', { timeout: '10m' }))
  await expect.poll(isAsleep).toBe(true)
  await vm.restore(snapshot)
  expect(await early).toContain('the VM was taken back to a snapshot meanwhile')
  expect((await agent.exec('cat /run/mark')).stdout).toBe('before\n')
  const late = meanwhile(agent.exec('sleep 1000', { timeout: '10m' }))
  await expect.poll(isAsleep).toBe(true)
  await vm.reset({ timeout: '5m' })
  expect(await late).toContain('the VM was reset meanwhile')
  await agent.ping({ timeout: '2m' })
  expect((await agent.exec('ls /run/mark')).exitCode).not.toBe(0)
  await vm.restart({ timeout: '2m', bootTimeout: '5m' })
  await agent.ping({ timeout: '2m' })
  expect((await agent.exec('cat /proc/1/comm')).stdout).toBe('systemd\n')
})

slow('an agent that is not there is told in time, and may come back', PATIENCE, async ({ dut }) => {
  const vm = await dut.start(specOf())
  const { agent } = vm
  await vm.exec(`systemctl stop ${SERVICE}`, { check: true })
  const startedAt = performance.now()
  const error = await agent.ping({ timeout: '3s' }).then(
    () => expect.unreachable(),
    (error: unknown) => error as GuestError,
  )
  expect(performance.now() - startedAt).toBeLessThan(10_000)
  expect(error).toBeInstanceOf(GuestError)
  expect(error.message).toContain('no guest agent answers, so guest-ping was not sent')
  expect(error.hint).toMatch(/nothing has its port open.*systemctl status qemu-guest-agent/)
  // What it was not sent it does not do when it comes.
  await expect(agent.shutdown({ timeout: '1s' })).rejects.toThrow('no guest agent answers')
  const waiting = agent.exec('hostname', { timeout: '2m' })
  await vm.exec(`systemctl start ${SERVICE}`, { check: true })
  expect((await waiting).stdout).toBe(`${vm.name}\n`)
  await agent.ping()

  await vm.exec(`systemctl kill --signal STOP ${SERVICE}`, { check: true })
  await expect(agent.ping({ timeout: '2s' })).rejects.toThrow('something has its port open')
  await vm.exec(`systemctl kill --signal CONT ${SERVICE}`, { check: true })
  await agent.ping()
  await vm.pause()
  await expect(agent.ping({ timeout: '1s' })).rejects.toThrow('the VM is paused: vm.resume()')
  await vm.resume()
  await agent.ping()
  await agent.shutdown({ mode: 'halt', timeout: '2m' })
  expect(vm.state).toBe('running')
})

slow('a guest without a login has it all the same', PATIENCE, async ({ dut }) => {
  const vm = await dut.start({ guest: { disk }, agent: true })
  await vm.agent.ping({ timeout: '4m' })
  expect((await vm.agent.exec('uname')).stdout).toBe('Linux\n')
  await vm.agent.shutdown({ mode: 'reboot', timeout: '2m' })
  expect(vm.state).toBe('stopped')
})

slow('a guest that ignores its power button is shut down by it', PATIENCE, async ({ dut }) => {
  const vm = await dut.start({ guest: { disk, login: TESTER }, agent: true })
  const lines = '[Login]\\nHandlePowerKey=ignore\\n'
  await vm.agent.exec(
    `mkdir -p /etc/systemd/logind.conf.d && printf '${lines}' >/etc/systemd/logind.conf.d/key.conf &&
    systemctl restart systemd-logind`,
    { check: true },
  )
  await vm.shutdown({ timeout: '2m' })
  expect(vm.state).toBe('stopped')
})

test('a VM that was not given it says so', async ({ dut }) => {
  const started: Vm = await dut.start({ memory: '256M' })
  expect(() => started.agent).toThrow(UsageError)
  expect(() => started.agent).toThrow('write agent: true in its spec')
  await expect(dut.start({ agent: true })).rejects.toThrow('no QEMU guest agent')
})
