import { existsSync, readdirSync, statSync } from 'node:fs'
import { mkdtemp, open, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as after } from 'node:timers/promises'
import { afterAll, beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import { Dut } from '../../src/fleet/dut.ts'
import { openRunFolder } from '../../src/fleet/run-folder.ts'
import { localHost } from '../../src/host/local.ts'
import type { VmSpec } from '../../src/vm/spec/spec.ts'
import type { Vm } from '../../src/vm/vm.ts'
import { startProcess, type TestProcess } from '../support/process.ts'
import { HEAD, makeProject } from '../support/project.ts'

/*
 * Templates in a folder of each test's own, which is empty at first, or has one of SHAPE that was made once
 * for all of these tests.
 */

let store: string
beforeEach(async () => {
  store = await mkdtemp('/dev/shm/dut-templates-')
  vi.stubEnv('VITEST_DUT_TEMPLATES', store)
  onTestFinished(async () => {
    vi.unstubAllEnvs()
    await rm(store, { recursive: true })
  })
})

let ready: string
afterAll(async () => {
  if (ready) await rm(ready, { recursive: true })
})

/** Has a template of SHAPE in the test's store. */
async function stock(dut: Dut): Promise<string> {
  if (ready === undefined) {
    await dut.stop(await dut.start(SHAPE))
    const made = await mkdtemp('/dev/shm/dut-templates-')
    await copy(`${store}/.`, made)
    ready = made
  } else await copy(`${ready}/.`, store)
  return templates()[0] as string
}

/** As it is: with its times, and its holes. */
async function copy(from: string, to: string): Promise<void> {
  const { exitCode } = await localHost().run('cp', ['--archive', '--sparse=always', '--', from, to])
  expect(exitCode).toBe(0)
}

const templates = () => readdirSync(store).filter((name) => /^[0-9a-f]{16}$/.test(name))
const SHAPE: VmSpec = { memory: '192M' }

/** A suite's DUT, with what is told of it. */
async function openDut() {
  const host = localHost()
  const folder = await openRunFolder(host)
  const notes: string[] = []
  const stages: string[] = []
  const dut = new Dut({
    ...{ name: 'dut0', host, dir: join(folder.path, 'd'), bootTimeoutMs: 120_000 },
    onProgress: (progress) => {
      if (progress.kind === 'note') notes.push(progress.line)
      else stages.push(progress.stage)
    },
  })
  onTestFinished(async () => {
    await dut.close()
    await folder.close()
  })
  return { dut, notes, stages }
}

const answers = async (vm: Vm) => (await vm.exec('hostname', { check: true })).stdout.trim()

test('every VM of a known shape is a clone: in all suites, workers and runs', async () => {
  const spec = (name: string) => `${HEAD}
const test = dutTest({ vms: 2, vm: { memory: '192M' } })
test('${name}', async ({ vms }) => {
  for (const vm of vms) await vm.exec('true', { check: true })
  mark('${name}', JSON.stringify(vms.map((vm) => vm.startedBy)))
})`
  const project = makeProject({ 'a.spec.ts': spec('a'), 'b.spec.ts': spec('b') })
  for (let run = 0; run < 2; run++) {
    const { status, output } = await project.vitest().ended
    expect(status, output).toBe(0)
    for (const name of ['a', 'b']) {
      expect(JSON.parse(await project.mark(name))).toEqual(['clone', 'clone'])
    }
    expect(templates()).toHaveLength(1)
  }
})

test('what shapes the machine has a template of its own, what it is connected to has not', async () => {
  const { dut } = await openDut()
  await stock(dut)
  const { link, userNet } = await import('vitest-dut')
  const start = async (spec: VmSpec) => {
    const vm = await dut.start({ ...SHAPE, ...spec })
    expect(await answers(vm)).toBe(vm.name)
    expect(vm.startedBy).toBe('clone')
    await dut.stop(vm)
    return templates().length
  }
  expect(await start({})).toBe(1)
  expect(await start({ name: 'other' })).toBe(1)
  expect(await start({ cpus: 2 })).toBe(2)
  expect(await start({ devices: [link('a')] })).toBe(3)
  expect(await start({ devices: [link('b')] })).toBe(3)
  expect(await start({ devices: [userNet({ forward: [7] })] })).toBe(3)
  expect(await start({ devices: [link('a', { properties: { mrg_rxbuf: false } })] })).toBe(4)
  expect(await start({ memory: { size: '192M', shared: true } })).toBe(4)
})

/** Every way is in the tests of reading one; here are those that clones would notice the latest. */
const SPOILS: Record<string, (folder: string) => Promise<unknown>> = {
  'is removed': (folder) => rm(folder, { recursive: true }),
  'loses its memory': (folder) => rm(`${folder}/memory`),
  'has other memory': (folder) => replace(`${folder}/memory`, Buffer.alloc(192 << 20)),
  'has its memory cut off': (folder) => truncate(`${folder}/memory`, 0),
  'has its memory overwritten': (folder) => overwrite(`${folder}/memory`),
  'has nonsense for state': (folder) => writeFile(`${folder}/state`, Buffer.alloc(300_000, 7)),
  'has nonsense for facts': (folder) => writeFile(`${folder}/facts`, '{"state":'),
}

/** By another file. */
async function replace(path: string, data: Buffer): Promise<void> {
  await writeFile(`${path}.new`, data)
  await rename(`${path}.new`, path)
}

/** In the file that there is. */
async function overwrite(path: string): Promise<void> {
  const file = await open(path, 'r+')
  await file.write(Buffer.alloc(192 << 20, 0xcc))
  await file.close()
}

test('one that is spoiled between two starts is made anew', { timeout: 300_000 }, async () => {
  const key = await stock((await openDut()).dut)
  for (const [how, spoil] of Object.entries(SPOILS)) {
    const { dut } = await openDut() // another suite: one goes on with the copy that it has
    await spoil(join(store, key))
    const vm = await dut.start(SHAPE)
    expect(await answers(vm), how).toBe('vm0')
    expect(vm.startedBy, how).toBe('clone')
    await dut.stop(vm)
    expect(templates(), how).toEqual([key])
  }
})

test('one that is spoiled while VMs start: they start all the same', {
  timeout: 600_000,
}, async () => {
  const folder = join(store, await stock((await openDut()).dut))
  const ways: string[] = []
  for (const [how, spoil] of Object.entries(SPOILS)) {
    for (const delayMs of [5, 60]) {
      const { dut } = await openDut()
      await rm(folder, { recursive: true, force: true })
      await copy(`${ready}/.`, store)
      const starting = dut.startAll([SHAPE, SHAPE])
      await after(delayMs)
      await spoil(folder).catch(() => {}) // it is just being replaced
      const vms = await starting
      for (const vm of vms) expect(await answers(vm), `${how} after ${delayMs} ms`).toBe(vm.name)
      ways.push(...vms.map((vm) => vm.startedBy))
      await Promise.all(vms.map((vm) => dut.stop(vm)))
    }
  }
  expect(new Set(ways)).toContain('clone')
})

/** Of much that lies in the guest's memory: its kernel's names, a program, the folders of its root. */
const memory = async (vm: Vm) =>
  (await vm.exec('(cat /proc/kallsyms /bin/bash; ls -R /etc) | cksum', { check: true })).stdout

test('one that is spoiled while its clones run: neither they nor later ones notice', {
  timeout: 300_000,
}, async () => {
  const { dut } = await openDut()
  const folder = join(store, await stock(dut))
  const vms = await dut.startAll([SHAPE, { ...SHAPE, memory: { size: '192M', shared: true } }])
  const whole = await memory(vms[0] as Vm)
  // First what is done to files that are there.
  for (const [how, spoil] of Object.entries(SPOILS).reverse()) {
    if (!existsSync(folder)) await copy(`${ready}/.`, store)
    await spoil(folder)
    const later = await dut.start(SHAPE)
    expect(later.startedBy, how).toBe('clone')
    for (const vm of [...vms, later]) expect(await memory(vm), how).toBe(whole)
    await dut.stop(later)
  }
})

test('a suite has one copy of a template, which is in use as long', async () => {
  const host = localHost()
  const { dut } = await openDut()
  const folder = join(store, await stock(dut))
  await dut.startAll([SHAPE, SHAPE])
  await dut.stopVms()
  const keepers = async () => {
    const { stdout } = await host.run('pgrep', ['--full', '--', `^sh -c .*${store}`])
    return stdout.split('\n').filter((line) => line !== '')
  }
  expect(await keepers()).toHaveLength(1)
  expect(await host.held([folder])).toEqual([true])
  await dut.close()
  expect(await keepers()).toEqual([])
  expect(await host.held([folder])).toEqual([false])
  expect(readdirSync(folder).sort()).toEqual(['facts', 'memory', 'state'])
})

/** What another process says of its start, up to how it was started. */
async function told(peer: TestProcess): Promise<Record<string, string>[]> {
  const all: Record<string, string>[] = []
  while (all.at(-1)?.startedBy === undefined) all.push(JSON.parse(await peer.line()))
  return all
}

const startPeer = (...stage: string[]) => {
  const peer = startProcess('template-peer.ts', stage, {
    lockDir: process.env.VITEST_DUT_LOCK_DIR ?? '',
  })
  onTestFinished(() => peer.kill())
  return peer
}

test('two processes that want it at once: one makes it', async () => {
  const peers = [startPeer(), startPeer()]
  const stages = await Promise.all(peers.map(told))
  const makers = stages.filter((all) => all.some(({ stage }) => stage === 'kernel'))
  expect(makers).toHaveLength(1)
  for (const all of stages) expect(all.at(-1)).toEqual({ startedBy: 'clone', hostname: 'vm0' })
  expect(templates()).toHaveLength(1)
  for (const peer of peers) peer.say('end')
  for (const peer of peers) expect(await peer.exited).toEqual({ code: 0, signal: null })
})

test.each(['kernel', 'shell', 'saving'])(
  'a maker that is killed at the stage %s: the next one makes it',
  async (stage) => {
    const maker = startPeer(stage)
    const drafts = () => readdirSync(store).filter((name) => name.endsWith('.draft'))
    for (;;) if (JSON.parse(await maker.line()).stage === stage) break
    expect(templates()).toEqual([])
    expect(drafts()).toHaveLength(1)
    await maker.kill()
    const next = startPeer()
    expect((await told(next)).at(-1)).toEqual({ startedBy: 'clone', hostname: 'vm0' })
    expect(drafts()).toEqual([])
    expect(templates()).toHaveLength(1)
    next.say('end')
    await next.exited
  },
)

test('no room for a template: the VM boots, and the run says why, once', async () => {
  const host = localHost()
  await host.run('mount', ['-t', 'tmpfs', '-o', 'size=200M,mode=700', 'tmpfs', store])
  onTestFinished(async () => void (await host.run('umount', [store])))
  const { dut, notes } = await openDut()
  const vms = await dut.startAll([SHAPE, SHAPE])
  expect(vms.map((vm) => vm.startedBy)).toEqual(['cold', 'cold'])
  expect(new Set(notes.filter((line) => /boots/.test(line)))).toEqual(
    new Set([`a VM boots from its kernel on: a template needs up to 192M, and ${store} has 50M`]),
  )
  await expect(dut.start({ ...SHAPE, boot: 'template' })).rejects.toThrow(/up to 192M/)
  expect(readdirSync(store)).toEqual([])
})

test('a folder of templates that is not ours alone is not used', async () => {
  await localHost().run('chmod', ['755', store])
  const { dut, notes } = await openDut()
  expect((await dut.start(SHAPE)).startedBy).toBe('cold')
  expect(notes.join('\n')).toContain(`${store} is not a folder of this user's alone`)
  expect(readdirSync(store)).toEqual([])
  await localHost().run('chmod', ['700', store])
})

test('a shape that cannot be saved boots and says why; to insist is an error', async () => {
  const { dut, notes } = await openDut()
  await stock(dut)
  const { raw } = await import('vitest-dut')
  const shape = { ...SHAPE, devices: [raw('-device', 'edu')] }
  expect((await dut.start(shape)).startedBy).toBe('cold')
  expect(notes).toContain('a VM boots from its kernel on: a raw device cannot be saved')
  await expect(dut.start({ ...shape, boot: 'template' })).rejects.toThrow(
    /boot: 'template' cannot be: a raw device cannot be saved/,
  )
  expect((await dut.start({ ...SHAPE, boot: 'template' })).startedBy).toBe('clone')
  expect((await dut.start({ ...SHAPE, boot: 'cold' })).startedBy).toBe('cold')
})

test('VITEST_DUT_BOOT=cold has all boot whose spec does not say', async () => {
  const { dut, notes } = await openDut()
  await stock(dut)
  vi.stubEnv('VITEST_DUT_BOOT', 'cold')
  expect((await dut.start(SHAPE)).startedBy).toBe('cold')
  expect((await dut.start({ ...SHAPE, boot: 'auto' })).startedBy).toBe('clone')
  expect(notes.filter((line) => /boots/.test(line))).toEqual([])
  vi.stubEnv('VITEST_DUT_BOOT', 'warm')
  await expect(dut.start(SHAPE)).rejects.toThrow(`VITEST_DUT_BOOT: "warm" is unknown`)
})

test('a clone shares the memory that it has not changed', async () => {
  const { dut } = await openDut()
  await stock(dut)
  const [one] = (await dut.startAll([SHAPE, SHAPE])) as [Vm, Vm]
  const { stdout } = await localHost().run('cat', [`/proc/${one.pid}/smaps_rollup`])
  const kilobytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(stdout)?.[1])
  expect(kilobytes('Pss')).toBeLessThan(kilobytes('Rss') * 0.9)
  const file = join(store, templates()[0] ?? '', 'memory')
  expect(statSync(file).blocks * 512).toBeGreaterThan(50 << 20)
})
