import { afterEach, describe, expect, test } from 'vitest'
import type { Pty } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { attachTap, ensureBridge, removeBridge } from '../../src/lease/resources/bridge.ts'
import { tap } from '../../src/qemu/devices.ts'
import { hintFor } from '../../src/qemu/hints.ts'
import { poll } from '../../src/wait.ts'
import { valuesOf } from '../support/shape.ts'

const host = localHost()
const mayChangeNetworks = process.getuid?.() === 0
const NOBODY = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups']

const qemus: Pty[] = []
const interfaces: string[] = []
afterEach(async () => {
  for (const qemu of qemus.splice(0)) {
    qemu.kill()
    await qemu.exited
  }
  for (const name of interfaces.splice(0)) await host.run('ip', ['link', 'delete', name])
})

function fresh(prefix: string): string {
  const name = `${prefix}${crypto.randomUUID().slice(0, 8)}`
  interfaces.push(name)
  return name
}

/** A machine that stands still, with nothing but this tap. */
function command(name: string): string[] {
  const devices = [{ device: tap(), mac: '52:54:00:00:00:01', tap: name }]
  const [netdev = ''] = valuesOf('-netdev', { devices })
  const nic = valuesOf('-device', { devices }).at(-1) ?? ''
  const bare = ['-machine', 'q35,accel=tcg', '-S', '-nodefaults', '-display', 'none']
  const port = ['-device', 'pcie-root-port,id=slot0']
  return ['qemu-system-x86_64', ...bare, ...port, '-netdev', netdev, '-device', nic]
}

function start(name: string, wrapper: string[] = []): Pty {
  const [file = '', ...args] = [...wrapper, ...command(name)]
  const qemu = host.openPty(file, args)
  qemus.push(qemu)
  return qemu
}

/** What QEMU says when it gives up, and what to do about it. */
async function refusal(name: string, wrapper: string[] = []) {
  const [file = '', ...args] = [...wrapper, ...command(name)]
  const signal = AbortSignal.timeout(30_000)
  const { exitCode, stderr } = await host.run(file, args, { signal })
  expect(exitCode).toBe(1)
  return { words: stderr, hint: hintFor(stderr.split('\n')) }
}

interface Facts {
  up: boolean
  master?: string
  /** Some program has it open. */
  carrier: boolean
}

async function facts(name: string): Promise<Facts | undefined> {
  const { exitCode, stdout } = await host.run('ip', ['-json', 'link', 'show', 'dev', name])
  if (exitCode !== 0) return undefined // one that goes meanwhile leaves an empty list
  const [{ flags, master }] = JSON.parse(stdout)
  return { up: flags.includes('UP'), carrier: flags.includes('LOWER_UP'), master }
}

const exists = (name: string) => poll(() => facts(name), { timeoutMs: 30_000 })
const isGone = (name: string) =>
  poll(async () => (await facts(name)) === undefined || undefined, { timeoutMs: 30_000 })

describe.runIf(mayChangeNetworks)('a tap of QEMU', () => {
  test('is there while QEMU is, on its bridge, and goes with it, however it goes', async () => {
    const [bridge, one, two] = [fresh('dutb'), fresh('dutt'), fresh('dutt')]
    expect(await ensureBridge(host, bridge)).toBe(true)
    const first = start(one)
    start(two)
    for (const name of [one, two]) {
      await exists(name)
      await attachTap(host, name, bridge)
      expect(await facts(name)).toEqual({ up: true, carrier: true, master: bridge })
    }
    await expect(removeBridge(host, bridge)).rejects.toThrow('is attached to it')
    first.kill()
    expect(await first.exited).toMatchObject({ signal: 'SIGKILL' })
    await isGone(one)
    expect(await facts(two)).toMatchObject({ master: bridge })
    qemus[1]?.kill()
    await isGone(two)
    expect(await facts(bridge)).toMatchObject({ up: true })
    await removeBridge(host, bridge)
    expect(await facts(bridge)).toBeUndefined()
  })

  test('that was made beforehand needs no rights of its owner, and stays', async () => {
    const name = fresh('dutt')
    await host.run('ip', ['tuntap', 'add', 'dev', name, 'mode', 'tap', 'user', '65534'])
    await host.run('ip', ['link', 'set', name, 'up'])
    const qemu = start(name, NOBODY)
    await poll(async () => (await facts(name))?.carrier || undefined, { timeoutMs: 30_000 })
    qemu.kill()
    await qemu.exited
    expect(await facts(name)).toMatchObject({ up: true, carrier: false })
  })
})

describe.runIf(mayChangeNetworks)('a tap that QEMU cannot have is told with what to do:', () => {
  test('no right to make one', async () => {
    const { words, hint } = await refusal(fresh('dutt'), NOBODY)
    expect(words).toContain('Operation not permitted')
    expect(hint).toContain('CAP_NET_ADMIN')
    expect(hint).toContain("tap({ name: 'NAME' })")
  })

  test("somebody else's", async () => {
    const name = fresh('dutt')
    await host.run('ip', ['tuntap', 'add', 'dev', name, 'mode', 'tap', 'user', '1'])
    expect((await refusal(name, NOBODY)).hint).toContain('CAP_NET_ADMIN')
  })

  test('one that another QEMU has', async () => {
    const name = fresh('dutt')
    const first = start(name)
    await exists(name)
    const { words, hint } = await refusal(name)
    expect(words).toContain('Device or resource busy')
    expect(hint).toContain('another QEMU has that tap')
    expect(await facts(name)).toBeDefined()
    first.kill()
    await isGone(name)
  })

  test.each([
    ['tuntap', 'mode', 'tap', 'multi_queue'],
    ['link', 'type', 'bridge'],
  ])('made by ip %s … %s %s %s', async (object, ...kind) => {
    const name = fresh('dutt')
    await host.run('ip', [object, 'add', 'dev', name, ...kind])
    expect(await exists(name)).toBeDefined()
    const { words, hint } = await refusal(name)
    expect(words).toContain('Invalid argument')
    expect(hint).toContain('is not a tap, or it is one with multi_queue')
  })

  test('no driver', async () => {
    const hide = 'mount -t tmpfs none /dev/net && exec "$@"'
    const wrapper = ['unshare', '--mount', 'sh', '-c', hide, 'sh']
    const { words, hint } = await refusal(fresh('dutt'), wrapper)
    expect(words).toContain('could not open /dev/net/tun: No such file or directory')
    expect(hint).toBe('load the module: modprobe tun')
  })
})

test('a PCI device that the host does not have is not mistaken for a missing tap', () => {
  const words =
    '-device vfio-pci,host=0000:03:00.0: vfio 0000:03:00.0: failed to open /dev/vfio/12: '
  expect(hintFor([`${words}Device or resource busy`])).toContain('that IOMMU group')
  expect(hintFor([`${words}No such file or directory`])).toBeUndefined()
})
