import { readdir, readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { InfrastructureError } from '../../../src/errors.ts'
import { localHost } from '../../../src/host/local.ts'
import { formatCpuList, readCpus } from '../../../src/lease/resources/cores.ts'
import { pinVcpus } from '../../../src/vm/instance/cpu-pinning.ts'
import { type RunningQemu, startQemu } from '../../support/qmp-peer.ts'

const host = localHost()
const where = { vm: 'vm0', dut: 'dut0' }
const usable = (await readCpus(host)).map(({ cpu }) => cpu)
const [first = 0] = usable
const last = usable.at(-1) ?? first

const start = (vcpus: number, thread = 'multi', ...more: string[]) =>
  startQemu([
    ...['-machine', 'q35', '-accel', `tcg,thread=${thread}`, '-S', '-m', '16M'],
    ...['-smp', String(vcpus), ...more],
  ])

/** What a thread may run on. */
async function allowed(thread: number | string): Promise<string | undefined> {
  const status = await readFile(`/proc/${thread}/status`, 'utf8')
  return /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1]
}

async function threadsOf({ qmp }: RunningQemu): Promise<number[]> {
  return (await qmp.execute('query-cpus-fast')).map((vcpu) => vcpu['thread-id'])
}

const refusal = (qemu: RunningQemu, cpus: number[]) =>
  pinVcpus({ host, qmp: qemu.qmp, where }, cpus).then(
    () => undefined,
    (reason) => reason,
  )

describe('each virtual CPU', () => {
  test.each([
    ['in order', [first, last]],
    ['the other way round', [last, first]],
    ['together on one', [last, last]],
  ])('is pinned to its cpu, %s', async (_, cpus) => {
    await using qemu = await start(2)
    const threads = await threadsOf(qemu)
    expect(await Promise.all(threads.map(allowed))).toEqual(Array(2).fill(formatCpuList(usable)))
    await pinVcpus({ host, qmp: qemu.qmp, where }, cpus)
    expect(await Promise.all(threads.map(allowed))).toEqual(cpus.map(String))
  })

  test('and no other thread of QEMU', async () => {
    await using qemu = await start(1)
    const [thread] = await threadsOf(qemu)
    await pinVcpus({ host, qmp: qemu.qmp, where }, [last])
    const all = await readdir(`/proc/${thread}/task`)
    const others = all.filter((id) => id !== String(thread))
    expect(others.length).toBeGreaterThan(0)
    for (const id of others) expect(await allowed(id)).toBe(formatCpuList(usable))
    expect(await allowed(thread ?? 0)).toBe(String(last))
  })

  test('of sixteen', async () => {
    await using qemu = await start(16)
    const cpus = Array.from({ length: 16 }, (_, i) => usable[i % usable.length] ?? 0)
    await pinVcpus({ host, qmp: qemu.qmp, where }, cpus)
    const pinned = await Promise.all((await threadsOf(qemu)).map(allowed))
    expect(pinned).toEqual(cpus.map(String))
  })
})

describe('is refused, with nothing pinned,', () => {
  test('where all share one thread', async () => {
    await using qemu = await start(2, 'single')
    const error = await refusal(qemu, [first, last])
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain('dut0/vm0: 2 virtual CPUs run in 1 threads of QEMU')
    expect(error.hint).toContain('thread=single')
    const [thread = 0] = await threadsOf(qemu)
    expect(await allowed(thread)).toBe(formatCpuList(usable))
  })

  test('where there are more than was agreed on', async () => {
    await using qemu = await start(1, 'multi', '-smp', '3')
    const error = await refusal(qemu, [first])
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain('3 virtual CPUs run in 3 threads')
    expect(error.hint).toContain('-smp')
  })

  test('where the host has no such cpu', async () => {
    await using qemu = await start(1)
    const error = await refusal(qemu, [1023])
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(/cannot be pinned to the host's cpus 1023.*taskset/s)
    expect(error).toMatchObject({ vm: 'vm0', dut: 'dut0' })
  })
})
