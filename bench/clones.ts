import { readFile } from 'node:fs/promises'
import { vhostSwitch } from '../src/dpdk/index.ts'
import { Dut } from '../src/fleet/dut.ts'
import { openTemplateStore } from '../src/fleet/template-store.ts'
import type { Guest } from '../src/image/guest.ts'
import { vhostUser } from '../src/qemu/devices.ts'
import type { VmSpec } from '../src/vm/spec/spec.ts'
import { listTemplates } from '../src/vm/template/store.ts'
import { median, type Row, time, timeRow } from './measure.ts'
import { cloneRaw, type RawTemplate } from './raw-clone.ts'

const ROUNDS = 5
const COUNTS = [1, 4, 8, 16, 32]
/** So many of a single clone, fewer of several: they take no longer than the machine's own unrest. */
const MOST_ROUNDS = 40

/** VMs from templates: how soon they answer, what they take of memory, what it costs to have one. */
export async function clones(dut: Dut, guest: Guest, accel: 'kvm' | 'tcg'): Promise<Row[]> {
  const cold: number[] = []
  for (let i = 0; i < 3; i++) cold.push((await ready(dut, 1, { boot: 'cold' })).ms)
  const made = await makeTemplate(dut)
  const template: RawTemplate = { folder: made.folder, guest, accel }
  const rows: Row[] = []
  const byCount = new Map<number, number>()
  const floors = new Map<number, number>()
  for (const count of COUNTS) {
    const { ours, floor, memory } = await race(dut, template, count)
    byCount.set(count, ours)
    floors.set(count, floor)
    rows.push(timeRow(`${count} ${count === 1 ? 'clone' : 'clones'}`, ours, floor, 1.3))
    if (count === 8) rows.push(memory)
  }
  const boot = median(cold)
  const against = (what: string, ms: number, target: number) =>
    rows.push(timeRow(`${what}, against one cold boot`, ms, boot, target))
  against('8 clones', byCount.get(8) ?? Number.NaN, 1 / 3)
  // Less than one boot, but where a boot is so quick that the bare floor itself takes longer than one.
  const possible = (1.3 * (floors.get(32) ?? Number.NaN)) / boot
  against('32 clones', byCount.get(32) ?? Number.NaN, Math.max(1, possible))
  against("a suite's first clone", await first(dut), 1 / 3)
  against('4 clones with a vhost-user NIC', await withNics(dut), 1)
  against('a template made, and one clone', made.ms, 2)
  against("reset: 'each', for each test", await resets(dut), 0.5)
  return rows
}

interface Ready {
  ms: number
  stop(): Promise<unknown>
  pids: number[]
}

/** From nothing to the first command of the last of them. */
async function ready(dut: Dut, count: number, spec: VmSpec = {}): Promise<Ready> {
  const startedAt = performance.now()
  const vms = await dut.startAll(Array.from({ length: count }, () => spec))
  await Promise.all(vms.map((vm) => vm.cmd('true')))
  const ms = performance.now() - startedAt
  const stop = () => Promise.all(vms.map((vm) => dut.stop(vm)))
  if (spec.boot === 'cold') await stop()
  return { ms, stop, pids: vms.map(({ pid }) => pid) }
}

/** The first VM of a shape that nobody has had, and the template of it. */
async function makeTemplate(dut: Dut): Promise<{ ms: number; folder: string }> {
  const { path } = await openTemplateStore(dut.host)
  for (const { folder } of await listTemplates(dut.host, path)) await dut.host.remove(folder)
  const { ms, stop } = await ready(dut, 1)
  await stop()
  const [made] = await listTemplates(dut.host, path)
  if (made === undefined) throw new Error('there is no template')
  return { ms, folder: made.folder }
}

/** Of a shape that has a template: the suite has no copy of it yet. */
async function first({ host, dir }: Dut): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < ROUNDS; i++) {
    const dut = new Dut({ name: 'first', host, dir: `${dir}-first`, bootTimeoutMs: 120_000 })
    times.push((await ready(dut, 1)).ms)
    await dut.close()
  }
  return median(times)
}

/** In turn with bare QEMUs that restore the same template. */
async function race(dut: Dut, template: RawTemplate, count: number) {
  const times = { ours: [] as number[], floor: [] as number[] }
  const memory = { ours: 0, floor: 0 }
  for (let i = 0; i < Math.max(ROUNDS, MOST_ROUNDS / count); i++) {
    const startedAt = performance.now()
    const bare = await Promise.all(Array.from({ length: count }, () => cloneRaw(template)))
    times.floor.push(performance.now() - startedAt)
    memory.floor = await memoryOf(bare.map(({ pid }) => pid))
    await Promise.all(bare.map((vm) => vm.end()))
    const ours = await ready(dut, count)
    times.ours.push(ours.ms)
    memory.ours = await memoryOf(ours.pids)
    await ours.stop()
  }
  const [ours, floor] = [median(times.ours), median(times.floor)]
  const [a, b] = [memory.ours / count, memory.floor / count]
  return { ours, floor, memory: memoryRow(`memory of each of ${count} clones`, a, b, 1.3) }
}

/** Bytes that processes take together: what they share is counted once (Pss). */
async function memoryOf(pids: readonly number[]): Promise<number> {
  const texts = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/smaps_rollup`, 'utf8')))
  return texts.reduce((sum, text) => sum + Number(/^Pss:\s+(\d+)/m.exec(text)?.[1]) * 1024, 0)
}

function memoryRow(what: string, ours: number, floor: number, target: number): Row {
  const [a = '', b = ''] = [ours, floor].map((bytes) => `${(bytes / 2 ** 20).toFixed(0)} MB`)
  const ratio = ours / floor
  return { what, ours: a, floor: b, ratio, target: `<= ${target}`, ok: ratio <= target }
}

/** Four VMs at the ports of a switch that runs. */
async function withNics(dut: Dut): Promise<number> {
  const sw = await vhostSwitch(dut, { ports: 4 })
  const specs = [0, 1, 2, 3].map((i) => ({ devices: [vhostUser(sw.port(i))] }))
  const times: number[] = []
  for (let i = 0; i < ROUNDS; i++) {
    const startedAt = performance.now()
    const vms = await dut.startAll(specs)
    await Promise.all(vms.map((vm) => vm.exec('cat /sys/class/net/eth0/address', { check: true })))
    if (i > 0) times.push(performance.now() - startedAt) // the first makes the template
    await Promise.all(vms.map((vm) => dut.stop(vm)))
  }
  await sw.close()
  return median(times)
}

/** What a test of a suite with \`reset: 'each'\` waits for. */
async function resets(dut: Dut): Promise<number> {
  const vm = await dut.start()
  await using snapshot = await vm.snapshot()
  const times: number[] = []
  for (let i = 0; i < ROUNDS; i++) {
    await vm.exec('head -c 5M /dev/urandom >/tmp/file')
    times.push(
      await time(async () => {
        await vm.restore(snapshot)
        await vm.cmd('true')
      }),
    )
  }
  await dut.stop(vm)
  return median(times)
}
