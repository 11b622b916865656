import { dutTest, expect, tap, type Vm } from 'vitest-dut'

const test = dutTest({ vms: 0 })
const mayChangeNetworks = process.getuid?.() === 0

/** A bridge that nothing else on this machine has. */
const newBridge = () => `dutb${crypto.randomUUID().slice(0, 8)}`
// Of the range for benchmarks (RFC 2544), so that nobody's real network is in the way.
const HOST = '198.18.77.1'
const guestAddress = (n: number) => `198.18.77.${n + 2}`

async function configure(vm: Vm, n: number): Promise<void> {
  await vm.exec(`ip addr add ${guestAddress(n)}/24 dev eth0; ip link set eth0 up`, { check: true })
}

test.runIf(mayChangeNetworks)('the host reaches guests through a bridge', async ({ dut }) => {
  const bridge = newBridge()
  const names = async (...which: string[]) => {
    const { stdout } = await dut.exec(`ip -oneline link show ${which.join(' ')} 2>/dev/null`)
    return [...stdout.matchAll(/^\d+: ([^:@]+)/gm)].map(([, name]) => name)
  }
  const spec = { memory: '256M', devices: [tap({ bridge })] }
  const vms = await dut.startAll([spec, spec])
  const taps = await names('master', bridge)
  expect(taps).toHaveLength(2)
  for (const name of taps) expect(name).toMatch(/^dut[0-9a-f]{8}$/)

  await dut.exec(`ip addr add ${HOST}/24 dev ${bridge}`, { check: true })
  await Promise.all(vms.map(configure))
  for (const [n, vm] of vms.entries()) {
    await vm.exec(`ping -c 1 -w 10 ${HOST}`, { check: true })
    await vm.exec(`ping -c 1 -w 10 ${guestAddress(1 - n)}`, { check: true })
    const server = await vm.spawn('socat -d -d TCP-LISTEN:7 SYSTEM:hostname', {
      prompt: 'listening on',
    })
    const { stdout } = await dut.exec(`cat </dev/tcp/${guestAddress(n)}/7`, { check: true })
    expect(stdout.trim()).toBe(vm.name)
    await server.close()
  }

  const [first, second] = vms as [Vm, Vm]
  await first.stop()
  expect(await names('master', bridge)).toHaveLength(1)
  await second.exec(`ping -c 1 -w 10 ${HOST}`, { check: true })
  second.kill()
  await expect.poll(() => names('dev', bridge)).toEqual([])
  for (const name of taps) expect(await names('dev', name ?? '')).toEqual([])
})

test.runIf(mayChangeNetworks)('a bridge that was there before stays', async ({ dut }) => {
  const bridge = newBridge()
  await dut.exec(`ip link add ${bridge} up type bridge`, { check: true })
  try {
    const vm = await dut.start({ memory: '256M', devices: [tap({ bridge })] })
    await vm.stop()
    await dut.exec(`ip link show dev ${bridge}`, { check: true })
    expect((await dut.exec(`ip link show master ${bridge}`, { check: true })).stdout).toBe('')
  } finally {
    await dut.exec(`ip link delete ${bridge}`)
  }
})

test.runIf(mayChangeNetworks)('a VM that does not start leaves no bridge', async ({ dut }) => {
  const bridge = newBridge()
  const start = dut.start({ devices: [tap({ bridge })], extraArgs: ['-device', 'no-such-device'] })
  await expect(start).rejects.toThrow(/no-such-device/)
  expect((await dut.exec(`ip link show dev ${bridge}`)).exitCode).toBe(1)
})
