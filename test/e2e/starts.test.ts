import { access, readdir } from 'node:fs/promises'
import { createConnection } from 'node:net'
import {
  Dut,
  dutTest,
  expect,
  link,
  raw,
  startFleet,
  userNet,
  type Vm,
  vhostUser,
} from 'vitest-dut'

const test = dutTest({ vms: 0 })

/** QEMUs that this process started and that still run. */
async function qemus(): Promise<string[]> {
  const found: string[] = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const { readFile } = await import('node:fs/promises')
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    const [, name, parent] = /^\d+ \((.*)\) \S (\d+)/.exec(stat) ?? []
    if (name?.startsWith('qemu-system') && Number(parent) === process.pid) found.push(pid)
  }
  return found
}

test('a broken device ends all VMs of the call, with the words of QEMU', async ({ dut }) => {
  const broken = { name: 'bad', devices: [raw('-device', 'no-such-device')] }
  const error: Error = await dut.startAll([{}, broken, {}]).then(
    () => expect.unreachable(),
    (e) => e,
  )
  expect(error.name).toBe('InfrastructureError')
  expect(error.message).toMatch(/dut0\/bad: .*'no-such-device' is not a valid device model name/)
  expect(error.message).toMatch(/the other 2 VMs were stopped/)
  expect(await qemus()).toEqual([])
  expect(dut.vms).toEqual([])
  await expect(access(`${dut.dir}/bad`)).rejects.toThrow(/ENOENT/)
})

test('a guest that does not come up in time names its stage and shows its kernel', async ({
  dut,
}) => {
  const stuck = { extraArgs: ['-S'] } // stopped before its first instruction
  const late = new Dut({
    name: 'late',
    host: dut.host,
    dir: `${dut.dir}/late`,
    bootTimeoutMs: 3000,
  })
  await expect(startFleet([late], { vm: stuck })).rejects.toThrow(
    /late\/vm0: the guest did not come up, it got as far as "kernel"/,
  )
  expect(await qemus()).toEqual([])
})

test('a QEMU that waits for its backend says so, within bootTimeout', async ({ dut }) => {
  const late = new Dut({ name: 'late', host: dut.host, dir: `${dut.dir}/b`, bootTimeoutMs: 3000 })
  const devices = [vhostUser({ path: `${dut.dir}/none`, server: true })]
  const error = await late.start({ devices, boot: 'cold' }).catch((error) => error)
  expect(error.name).toBe('InfrastructureError')
  expect(error.message).toMatch(/late\/vm0: QEMU started but does not answer on QMP/)
  expect(error.tail).toMatch(/waiting for connection on: .*\/none/)
  expect(error.hint).toMatch(/start it first, as the client of that socket/)
  expect(await qemus()).toEqual([])
})

test.for([
  ['an unknown key', { memroy: '1G' }, /unknown option "memroy"[\s\S]*did you mean "memory"\?/],
  ['no size', { memory: '512' }, /"512" is not a size[\s\S]*'512M'/],
  ['too little', { memory: '16M' }, /16M is too little/],
  ['no CPU', { cpus: 0 }, /cpus: 0 is not a whole number/],
  ['a bad name', { name: 'a b' }, /"a b" cannot be a VM's name/],
  ['no device', { devices: ['eth0'] }, /devices is not a list of devices/],
] as const)(
  '%s in a spec is refused and nothing is started',
  async ([, spec, message], { dut }) => {
    const call = dut.startAll([{}, spec as never])
    await expect(call).rejects.toThrow(message)
    expect(((await call.catch((e: Error) => e)) as Error).name).toBe('UsageError')
    expect(await qemus()).toEqual([])
  },
)

test('VMs on a link reach each other, and only those', async ({ dut }) => {
  const vms = (await dut.startAll([
    { devices: [link('red')] },
    { devices: [link('red'), link('blue')] },
    { devices: [link('blue')] },
    { devices: [link('red')], memory: '256M' },
  ])) as [Vm, Vm, Vm, Vm]
  const addresses = [['10.1.0.1'], ['10.1.0.2', '10.2.0.2'], ['10.2.0.3'], ['10.1.0.4']]
  await Promise.all(
    vms.map((vm, i) =>
      vm.exec(
        addresses[i]
          ?.map((ip, n) => `ip addr add ${ip}/24 dev eth${n}; ip link set eth${n} up`)
          .join('\n') ?? '',
        { check: true },
      ),
    ),
  )
  const ping = async (from: Vm, to: string) => {
    return (await from.exec(`ping -c 2 -i 0.2 -w 10 ${to}`)).exitCode === 0
  }
  expect(await ping(vms[0], '10.1.0.2')).toBe(true)
  expect(await ping(vms[3], '10.1.0.1')).toBe(true)
  expect(await ping(vms[2], '10.2.0.2')).toBe(true)
  const lost = await vms[0].exec('ip addr add 10.2.0.1/24 dev eth0; ping -c 2 -i 0.2 -W 1 10.2.0.3')
  expect(lost.exitCode).toBe(1)
  const macs = await Promise.all(
    vms.map((vm) => vm.exec('cat /sys/class/net/eth*/address').then((r) => r.stdout)),
  )
  const all = macs.join('').trim().split('\n')
  expect(new Set(all).size).toBe(5)
})

test('the host reaches forwarded ports, each VM at its own', async ({ dut }) => {
  const spec = { devices: [userNet({ forward: [7, { port: 8, protocol: 'udp' }] })] }
  const vms = await dut.startAll([spec, spec])
  const ports = vms.flatMap((vm) => [vm.forward(7).port, vm.forward(8, 'udp').port])
  expect(new Set(ports).size).toBe(4)
  expect(() => vms[0]?.forward(99)).toThrow(/does not forward tcp port 99/)
  for (const vm of vms) {
    await vm.exec(
      'ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up; ip route add default via 10.0.2.2',
      { check: true },
    )
    const server = await vm.spawn(
      `python3 -c 'import socket; s=socket.create_server(("",7)); print("ready", flush=True); c,a=s.accept(); c.sendall(b"I am "+socket.gethostname().encode()); c.close()'`,
      { prompt: 'ready' },
    )
    const { host, port } = vm.forward(7)
    const heard = await new Promise<string>((resolve, reject) => {
      const socket = createConnection(port, host)
      let text = ''
      socket.setEncoding('utf8').on('data', (data) => {
        text += data
      })
      socket.on('end', () => resolve(text)).on('error', reject)
    })
    expect(heard).toBe(`I am ${vm.name}`)
    await server.close()
  }
})

test('a VM has what its spec says', async ({ dut }) => {
  const vm = await dut.start({
    name: 'big',
    memory: '768M',
    cpus: 2,
    devices: [link('x', { mac: '52:54:00:aa:bb:cc' })],
  })
  expect(vm).toMatchObject({ name: 'big', state: 'running' })
  const { stdout } = await vm.exec(
    'hostname; nproc; cat /sys/class/net/eth0/address; awk "/MemTotal/{print int(\\$2/1024)}" /proc/meminfo',
  )
  const [hostname, cpus, mac, megabytes] = stdout.trim().split('\n')
  expect([hostname, cpus, mac]).toEqual(['big', '2', '52:54:00:aa:bb:cc'])
  expect(Number(megabytes)).toBeGreaterThan(650)
  expect(await vm.qmp('query-status')).toMatchObject({ running: true })
  const events = vm.events
  await vm.pause()
  expect((await events.next()).value).toMatchObject({ event: 'STOP' })
})
