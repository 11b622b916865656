import { existsSync } from 'node:fs'
import { dutTest, expect, link, type Snapshot } from 'vitest-dut'

const test = dutTest({
  vms: 2,
  vm: ({ index }) => ({ devices: [link('lan')], boot: index === 0 ? 'auto' : 'cold' }),
})

const STATE = 'echo "$x $(cat /tmp/file) $(pgrep -c sleep)"'

test('a VM is what it was: variables, files and processes', async ({ vms }) => {
  for (const vm of vms) {
    await vm.cmd(['x=before', 'echo before >/tmp/file', 'sleep 1000 & disown'])
    const snapshot = await vm.snapshot()
    for (let i = 0; i < 3; i++) {
      await vm.cmd(['x=after', 'echo after >/tmp/file', 'kill %1 2>/dev/null; pkill sleep'])
      await vm.exec('head -c 20M /dev/urandom >/tmp/big')
      expect((await vm.cmd(STATE)).output).toBe('after after 0\n')
      await vm.restore(snapshot)
      expect((await vm.cmd(STATE)).output).toBe('before before 1\n')
      expect((await vm.exec('cat /tmp/file; ls /tmp/big')).stdout).toMatch(/^before\n.*No such/s)
    }
  }
})

test('memory that others can map comes back, too', async ({ dut }) => {
  const vm = await dut.start({ name: 'shared', memory: { size: '192M', shared: true } })
  await vm.cmd('x=before')
  const snapshot = await vm.snapshot()
  await vm.cmd('x=after')
  await vm.exec('head -c 20M /dev/urandom >/tmp/big', { check: true })
  await vm.restore(snapshot)
  expect((await vm.cmd('echo $x; ls /tmp')).output).toBe('before\n')
})

test('several snapshots, in any order', async ({ vm }) => {
  const snapshots: Snapshot[] = []
  for (let i = 0; i < 3; i++) {
    await vm.cmd(`x=${i}`)
    snapshots.push(await vm.snapshot())
  }
  for (const i of [1, 0, 2, 2, 0]) {
    await vm.restore(snapshots[i] as Snapshot)
    expect((await vm.cmd('echo $x')).output).toBe(`${i}\n`)
  }
})

test('random numbers differ each time, and the clock is right', async ({ vm }) => {
  const snapshot = await vm.snapshot()
  const seen = new Set<string>()
  for (let i = 0; i < 4; i++) {
    await vm.restore(snapshot)
    const from = Date.now() - 50
    const { stdout } = await vm.exec(
      'head -c 32 /dev/urandom | od -An -tx1 | tr -d "\\n"; echo; date +%s%3N',
    )
    const [random = '', clock] = stdout.split('\n')
    expect(Number(clock)).toBeGreaterThan(from)
    expect(Number(clock)).toBeLessThan(Date.now() + 50)
    seen.add(random).add((await vm.cmd('echo $RANDOM$RANDOM$RANDOM')).output)
  }
  expect(seen.size).toBe(8)
})

test('what is under way ends, and the VM is of use at once', async ({ vm }) => {
  const snapshot = await vm.snapshot()
  const meanwhile = 'was taken back to a snapshot meanwhile'
  for (let i = 0; i < 3; i++) {
    const session = await vm.session()
    const program = await vm.spawn('sed -u s/h/j/')
    const under = [
      vm.exec('while :; do echo $RANDOM$RANDOM$RANDOM; done'),
      vm.exec('cat', { input: 'x'.repeat(300_000) }).then(() => vm.exec('sleep 1000')),
      vm.cmd(['while :; do echo flood; done'], ['never']),
      vm.cmd('echo queued'),
      session.cmd('sleep 1000'),
      program.exited.then((status) => expect.unreachable(`status ${status}`)),
    ]
    for (const one of under) one.catch(() => {})
    await vm.exec('true')
    await vm.restore(snapshot)
    for (const one of under) await expect(one).rejects.toThrow(meanwhile)
    expect((await vm.cmd('echo "[$-]"')).output).toMatch(/^\[.*i.*\]\n$/)
    const { stdout } = await vm.exec('cat', { input: 'y'.repeat(100_000) })
    expect(stdout).toBe('y'.repeat(100_000))
    expect((await (await vm.session()).cmd('echo $((6 * 7))')).output).toBe('42\n')
  }
})

test('what was under way at the snapshot ends in the guest, too', async ({ vm }) => {
  const runs = async () => (await vm.exec('pgrep -xf "sleep 54321"')).exitCode === 0
  const program = await vm.spawn('exec sleep 54321')
  await expect.poll(runs).toBe(true)
  const snapshot = await vm.snapshot()
  await program.close()
  await expect.poll(runs).toBe(false)
  await vm.restore(snapshot) // it runs again there, and nobody has it any more
  await expect.poll(runs).toBe(false)
})

test('a program that had the console has it again', async ({ vm }) => {
  await vm.cmd(['read -p "name? " name; echo "<$name>"'], ['name? '])
  const snapshot = await vm.snapshot()
  for (const name of ['a', 'b']) {
    expect((await vm.cmd(name)).output).toBe(`<${name}>\n`)
    await vm.restore(snapshot)
  }
  await vm.cmd('end')
})

test('packets pass over a link as before', async ({ vms }) => {
  const [a, b] = vms
  await a.exec('ip link set eth0 up; ip addr add 10.9.0.1/24 dev eth0', { check: true })
  await b.exec('ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0', { check: true })
  const snapshots = await Promise.all([a.snapshot(), b.snapshot()])
  for (let i = 0; i < 2; i++) {
    await a.exec('ping -c 3 -i 0.2 -W 5 10.9.0.2', { check: true })
    await a.exec('ip addr flush dev eth0', { check: true })
    await Promise.all([a.restore(snapshots[0] as Snapshot), b.restore(snapshots[1] as Snapshot)])
  }
  await b.exec('ping -c 3 -i 0.2 -W 5 10.9.0.1', { check: true })
})

test('the log of the kernel is the one of then', async ({ vm }) => {
  const snapshot = await vm.snapshot()
  await vm.exec('echo after-the-snapshot >/dev/kmsg')
  await expect.poll(() => vm.kernelLog).toContain('after-the-snapshot')
  await vm.restore(snapshot)
  expect(vm.kernelLog).not.toContain('after-the-snapshot')
  expect(vm.kernelLog).toContain('Linux version')
})

test('a NIC that came back is the same, another one is told', async ({ dut }) => {
  const vm = await dut.start({ name: 'plugged', devices: [link('lan')] })
  const snapshot = await vm.snapshot()
  await vm.unplug('nic0')
  await expect(vm.restore(snapshot)).rejects.toThrow('plugged: devices were plugged or unplugged')
  await vm.plug(link('lan'))
  await vm.restore(snapshot)
  expect((await vm.exec('ls /sys/class/net')).stdout).toBe('eth0\nlo\n')
})

test('a paused VM is told, not waited for', async ({ vm }) => {
  await vm.pause()
  await expect(vm.snapshot()).rejects.toThrow('vm0: a VM that is paused cannot be kept')
  await vm.resume()
})

let old: Snapshot
test('takes a snapshot that ends with the test', async ({ vm }) => {
  old = await vm.snapshot()
})

test('refuses a snapshot that is no more, or is of another VM', async ({ vms }) => {
  const [a, b] = vms
  await expect(a.restore(old)).rejects.toThrow(/vm0: the snapshot is dropped/)
  await expect(b.restore(await a.snapshot())).rejects.toThrow(/vm1: the snapshot is of vm0/)
})

test('leaves nothing behind', async ({ dut }) => {
  const vm = await dut.start({ name: 'gone' })
  const snapshot = await vm.snapshot()
  expect(existsSync(`${dut.dir}/gone/snapshots`)).toBe(true)
  await dut.stop(vm)
  await snapshot.drop()
  expect(existsSync(`${dut.dir}/gone`)).toBe(false)
})
