import { expect, onTestFinished, test } from 'vitest'
import { Dut } from '../../src/fleet/dut.ts'
import { openRunFolder } from '../../src/fleet/run-folder.ts'
import { localHost } from '../../src/host/local.ts'
import { link } from '../../src/qemu/devices.ts'
import { debianDisk } from '../support/disk.ts'
import { diskVariant } from '../support/disk-variant.ts'

/* State that a guest with systemd carries into its clones. Each of its images boots, which takes half a minute. */

const PATIENCE = { timeout: 900_000 }

/** A suite's DUT, with what is told of it. */
async function openDut() {
  const host = localHost()
  const folder = await openRunFolder(host)
  const said: string[] = []
  const dut = new Dut({
    ...{ name: 'dut0', host, dir: `${folder.path}/d`, bootTimeoutMs: 300_000 },
    onProgress: (progress) =>
      said.push(progress.kind === 'note' ? progress.line : `stage: ${progress.stage}`),
  })
  onTestFinished(async () => {
    await dut.close()
    await folder.close()
  })
  return { dut, said }
}

const CLIENTS = `cd etc/systemd
  printf '[Match]\\nName=eth0\\n[Network]\\nDHCP=ipv4\\n' >network/50-client.network
  ln -s /lib/systemd/system/systemd-networkd.service system/multi-user.target.wants/`
const SERVER = `
  printf '[Match]\\nName=eth0\\n[Network]\\nAddress=10.9.0.1/24\\nDHCPServer=yes\\n' \\
    >/etc/systemd/network/10-server.network
  networkctl reload; networkctl reconfigure eth0`
const AWAIT_LEASE = `
  until [ -s /run/systemd/netif/leases/* ]; do sleep 0.1; done
  grep -E '^(ADDRESS|CLIENTID)=' /run/systemd/netif/leases/*; cat /etc/machine-id`

test(
  'clones get leases of their own from a DHCP server, by systemd-networkd',
  PATIENCE,
  async () => {
    const { dut } = await openDut()
    const spec = { ...(await diskVariant(dut, CLIENTS)), devices: [link('lan')] }
    const server = await dut.start(spec)
    await server.exec(SERVER, { check: true })
    const clients = await dut.startAll([spec, spec])
    expect(clients.map((vm) => vm.startedBy)).toEqual(['clone', 'clone'])
    const lines = await Promise.all(
      clients.map(async (vm) => {
        const { stdout } = await vm.exec(AWAIT_LEASE, { check: true, timeout: '2m' })
        return stdout.trim().split('\n')
      }),
    )
    const [a = [], b = []] = lines
    expect(a).toHaveLength(3)
    for (const [i, line] of a.entries()) expect(line).not.toBe(b[i])
  },
)

const NAMES = `x='\\h'; echo "\${x@P} $HOSTNAME"`

test('a clone finds its journal, and its shells show its name', PATIENCE, async () => {
  const { dut } = await openDut()
  const { disk } = await debianDisk()
  const spec = { guest: { disk }, login: { user: 'root', password: 'dut' }, memory: '256M' }
  const [vm, other] = await dut.startAll([spec, { ...spec, name: 'n'.repeat(32) }])
  for (const each of [vm, other]) {
    if (each === undefined) continue
    expect(each.startedBy).toBe('clone')
    expect((await each.cmd(NAMES)).output).toBe(`${each.name} ${each.name}\n`)
    expect((await each.exec(NAMES)).stdout).toBe(`${each.name} ${each.name}\n`)
    const journal = 'logger -t mark hello; journalctl --sync; journalctl --no-pager -o cat -t mark'
    expect((await each.exec(journal)).stdout).toBe('hello\n')
  }
})

const NEVER = `cd etc/systemd/system
  printf '[Service]\\nType=oneshot\\nTimeoutStartSec=infinity\\nExecStart=sleep infinity\\n' >never.service
  ln -s ../never.service multi-user.target.wants/`

test('an init that never ends is named, and waited for for a while', PATIENCE, async () => {
  const { dut, said } = await openDut()
  const spec = await diskVariant(dut, NEVER)
  const waits = /it waits for never\.service$/
  const cold = await dut.start({ ...spec, boot: 'cold' })
  expect((await cold.exec('systemctl is-system-running')).stdout).toBe('starting\n')
  expect(said.filter((line) => /never/.test(line))).toEqual([])
  await dut.stop(cold)
  for (const _ of ['made', 'found']) {
    said.length = 0
    const vm = await dut.start(spec)
    expect(vm.startedBy).toBe('clone')
    expect(said).toContainEqual(expect.stringMatching(/had not finished starting.*never\.service/))
    if (_ === 'made') expect(said).toContainEqual(expect.stringMatching(waits))
    if (_ === 'made') expect(said).toContain('stage: waits for never.service')
  }
})
