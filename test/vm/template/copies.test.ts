import { existsSync } from 'node:fs'
import {
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../../src/host/local.ts'
import { HeldTemplates } from '../../../src/vm/template/copies.ts'
import { dropTemplate } from '../../../src/vm/template/store.ts'
import { poll } from '../../../src/wait.ts'
import { putTemplate, seal } from '../../support/stored-template.ts'

const host = localHost()
const KEY = '0123456789abcdef'
const MEMORY = Buffer.alloc(24 << 20, 'memory')

let path: string
let folder: string
beforeEach(async () => {
  path = await mkdtemp('/dev/shm/dut-gone-whole-') // also the words that are said of it
  folder = `${path}/${KEY}`
})
afterEach(async () => {
  await host.run('umount', [path]) // only one test mounts something there
  await rm(path, { recursive: true })
})

function openHeld(): HeldTemplates {
  const held = new HeldTemplates(host, {})
  onTestFinished(() => held.close())
  return held
}

const put = ({ memory = MEMORY, disk }: { memory?: Buffer; disk?: Buffer } = {}) =>
  putTemplate(folder, { memory, ...(disk && { disk }) })

test('a copy is all of the template, without a name', async () => {
  await put({ disk: Buffer.from('disk') })
  const template = await openHeld().hold(folder)
  expect(template).toMatchObject({
    key: KEY,
    folder,
    kernelLog: 'Linux version 6\n',
  })
  expect(MEMORY.equals(await readFile(template!.memory!))).toBe(true)
  expect(await readFile(template!.disk!, 'utf8')).toBe('disk')
  expect(await readFile(template!.state, 'utf8')).toBe('state')
  expect((await readdir(folder)).sort()).toEqual(['disk', 'facts', 'memory', 'state'])
  expect(await readdir(path)).toEqual([KEY])
})

test('what the template has not, its copy has not; holes take no room', async () => {
  await put()
  await rm(`${folder}/memory`)
  await writeFile(`${folder}/memory`, '')
  await truncate(`${folder}/memory`, 1 << 30)
  await seal(folder)
  const template = await openHeld().hold(folder)
  expect(template).not.toHaveProperty('disk')
  const { size, blocks } = await stat(template!.memory!)
  expect([size, blocks]).toEqual([1 << 30, 0])
})

test('what becomes of the files does not touch it', async () => {
  await put()
  const held = openHeld()
  const template = await held.hold(folder)
  await truncate(`${folder}/memory`, 0)
  expect(MEMORY.equals(await readFile(template!.memory!))).toBe(true)
  await rm(folder, { recursive: true })
  expect(MEMORY.equals(await readFile(template!.memory!))).toBe(true)
  expect(await held.hold(folder)).toEqual(template)
})

test('all who ask have the same one, and it is in use until all is let go of', async () => {
  await put()
  const held = openHeld()
  const [one, two] = await Promise.all([held.hold(folder), held.hold(folder)])
  expect(one).toEqual(two)
  expect(await held.hold(folder)).toEqual(one)
  expect(await host.held([folder])).toEqual([true])
  await held.close()
  expect(await host.held([folder])).toEqual([false])
  expect(existsSync(one!.state)).toBe(false)
})

test.each<[string, () => Promise<unknown>]>([
  ['there is none', () => rm(folder, { recursive: true })],
  ['it has no facts', () => rm(`${folder}/facts`)],
  ['its memory is gone', () => rm(`${folder}/memory`)],
  ['its memory was changed', () => writeFile(`${folder}/memory`, 'x')],
  ['its state was changed', () => writeFile(`${folder}/state`, 'STATE')],
])('no copy where %s', async (_, spoil) => {
  await put()
  await spoil()
  const held = openHeld()
  expect(await held.hold(folder)).toBeUndefined()
  await rm(folder, { recursive: true, force: true })
  await put()
  expect(await held.hold(folder)).toMatchObject({ folder })
})

/** Done in the midst of the copying. */
const SPOILS: Record<string, () => Promise<unknown>> = {
  'is cut off': () => truncate(`${folder}/memory`, 1000),
  'is overwritten': async () => {
    const file = await open(`${folder}/memory`, 'r+')
    await file.write(Buffer.alloc(MEMORY.length, 'x'))
    await file.close()
  },
  'is replaced': async () => {
    await writeFile(`${folder}/new`, Buffer.alloc(MEMORY.length, 'x'))
    await rename(`${folder}/new`, `${folder}/memory`)
  },
  'gets another state': () => writeFile(`${folder}/state`, 'STATE'),
  'gives its name to another template': async () => {
    await dropTemplate(host, folder)
    await put({ memory: Buffer.alloc(MEMORY.length, 'other') })
  },
}

test.each(Object.entries(SPOILS))('a template that %s while it is copied', async (_, spoil) => {
  const held = openHeld()
  for (let i = 0; i < 10; i++) {
    await put()
    const copying = held.hold(folder)
    if (i > 0) await poll(async () => (await host.held([folder]))[0] || undefined, PATIENCE)
    await spoil()
    const template = await copying
    // Whole and right, or none at all; or the other one, whole.
    if (template) {
      const memory = await readFile(template.memory!)
      const other = Buffer.alloc(MEMORY.length, 'other')
      expect(memory.equals(MEMORY) || memory.equals(other)).toBe(true)
      expect(await readFile(template.state, 'utf8')).toBe('state')
    }
    await held.close()
    await rm(folder, { recursive: true })
  }
})

test('no copy is begun while somebody looks for what is in nobody’s use, and takes it away', async () => {
  await put()
  const shelf = await host.lock(path)
  const copying = openHeld().hold(folder)
  const script = 'for p in /proc/[0-9]*; do readlink $p/fd/4; done'
  const isWaiting = async () => {
    const { stdout } = await host.run('sh', ['-c', script])
    return stdout.split('\n').includes(path) || undefined
  }
  await poll(isWaiting, { timeoutMs: 10_000 })
  expect(await host.held([folder])).toEqual([false])
  await dropTemplate(host, folder)
  await shelf.release()
  expect(await copying).toBeUndefined()
  expect(await readdir(path)).toEqual([])
})

const PATIENCE = {
  timeoutMs: 10_000,
  everyMs: 1,
  onTimeout: () => new Error('nobody copies the template'),
}

test('where its keeper was killed, a new copy is made', async () => {
  await put()
  const held = openHeld()
  const first = await held.hold(folder)
  process.kill(Number(/\d+/.exec(first!.state)?.[0]), 'SIGKILL')
  await poll(async () => ((await held.hold(folder))?.state !== first?.state ? true : undefined), {
    ...PATIENCE,
    onTimeout: () => new Error('there is no new copy'),
  })
  expect(MEMORY.equals(await readFile((await held.hold(folder))!.memory!))).toBe(true)
})

test('no room for a copy is an error that says so, and leaves nothing', async () => {
  await host.run('mount', ['-t', 'tmpfs', '-o', 'size=40M,mode=700', 'tmpfs', path])
  await put()
  const held = openHeld()
  await expect(held.hold(folder)).rejects.toThrow(/could not be copied: cp: .*No space left/)
  await expect(held.hold(folder)).rejects.toThrow(/No space left/)
  expect((await readdir(folder)).sort()).toEqual(['facts', 'memory', 'state'])
  expect(await host.held([folder])).toEqual([false])
})
