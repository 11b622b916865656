import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { InfrastructureError } from '../../../src/errors.ts'
import { localHost } from '../../../src/host/local.ts'
import { markUsed, readTemplate } from '../../../src/vm/template/files.ts'
import {
  dropTemplate,
  listTemplates,
  openDraft,
  pruneTemplates,
  sweepTemplates,
} from '../../../src/vm/template/store.ts'
import { label, putTemplate } from '../../support/stored-template.ts'

const host = localHost()

let path: string
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'dut.shelf-')) // with a dot, as a user's folder may have one
})
afterEach(() => rm(path, { recursive: true }))

const keyOf = (n: number) => n.toString(16).padStart(16, '0')

/** A whole template, as its maker leaves it. */
async function put(n: number, { megabytes = 1, memory = true } = {}): Promise<string> {
  const folder = `${path}/${keyOf(n)}`
  await putTemplate(folder, {
    ...(memory && { memory: Buffer.alloc(megabytes << 20, 1) }),
    state: `state of ${n}`,
  })
  return folder
}

/** As if it had been used so many seconds ago. */
async function age(folder: string, seconds: number): Promise<void> {
  const then = Date.now() / 1000 - seconds
  await utimes(`${folder}/facts`, then, then)
}

const keys = async () => (await listTemplates(host, path)).map(({ key }) => key)

describe('a template', () => {
  test('is read as it was made', async () => {
    const folder = await put(1)
    expect(await readTemplate(host, folder)).toEqual({
      ...{ key: keyOf(1), folder, kernelLog: 'Linux version 6\n', unfinished: [] },
      ...{ memory: `${folder}/memory`, state: `${folder}/state` },
    })
    expect((await stat(`${folder}/memory`)).mode & 0o777).toBe(0o400)
  })

  test('whose memory is in its state has no other', async () => {
    expect(await readTemplate(host, await put(1, { memory: false }))).not.toHaveProperty('memory')
  })

  test.each<[string, (folder: string) => Promise<unknown>]>([
    ['is gone', (folder) => rm(folder, { recursive: true })],
    ['has no facts', (folder) => rm(`${folder}/facts`)],
    ['has half of its facts', (folder) => truncate(`${folder}/facts`, 40)],
    ['has facts of nothing', (folder) => writeFile(`${folder}/facts`, '{}')],
    ['has no memory', (folder) => rm(`${folder}/memory`)],
    ['has half of its memory', (folder) => truncate(`${folder}/memory`, 1 << 19)],
    ['has other memory', (folder) => writeFile(`${folder}/memory`, Buffer.alloc(1 << 20, 2))],
    ['has no state', (folder) => rm(`${folder}/state`)],
    ['has other state of the same length', (folder) => writeFile(`${folder}/state`, 'STATE of 1')],
  ])('that %s is none', async (_, spoil) => {
    const folder = await put(1)
    await spoil(folder)
    expect(await readTemplate(host, folder)).toBeUndefined()
  })

  test('with other state that was made to look as old as the right one is none', async () => {
    const folder = await put(1)
    const { atime, mtime } = await stat(`${folder}/state`)
    await writeFile(`${folder}/state`, 'STATE of 1')
    await utimes(`${folder}/state`, atime, mtime)
    expect(await readTemplate(host, folder)).toBeUndefined()
  })
})

describe('the shelf', () => {
  test('lists all, the most recently used first', async () => {
    const [one, two, three] = [await put(1), await put(2, { megabytes: 3 }), await put(3)]
    for (const [i, folder] of [one, two, three].entries()) await age(folder, 100 * (i + 1))
    await markUsed(host, (await readTemplate(host, two))!)
    await mkdir(`${path}/${keyOf(4)}.draft`)
    await writeFile(`${path}/somebody else's`, '')
    const listed = await listTemplates(host, path)
    expect(listed.map(({ key }) => key).slice(2)).toEqual([keyOf(1), keyOf(3)])
    expect(
      listed
        .map(({ key }) => key)
        .slice(0, 2)
        .sort(),
    ).toEqual([keyOf(2), keyOf(4)])
    expect(listed.find(({ key }) => key === keyOf(2))).toMatchObject({ label, inUse: false })
    expect(listed.find(({ key }) => key === keyOf(2))?.bytes).toBeGreaterThan(3 << 20)
    expect(listed.find(({ key }) => key === keyOf(4))).not.toHaveProperty('label')
  })

  test('prunes what nobody uses', async () => {
    const [one, two] = [await put(1), await put(2)]
    const user = await host.lock(two, { shared: true })
    const dry = await pruneTemplates(host, path, { dryRun: true })
    expect(dry.removed.map(({ folder }) => folder)).toEqual([one])
    expect(existsSync(one)).toBe(true)
    const { removed, kept } = await pruneTemplates(host, path)
    expect([removed, kept].map(([all]) => all?.folder)).toEqual([one, two])
    expect(await keys()).toEqual([keyOf(2)])
    await user.release()
    await pruneTemplates(host, path)
    expect(await readdir(path)).toEqual([])
  })

  test('is swept of what the dead began or were removing, and of nothing else', async () => {
    const whole = await put(1)
    const draft = await openDraft(host, { path, limit: 1 << 30 }, { key: keyOf(2), most: 1 })
    const dead = [`${path}/${keyOf(3)}.draft`, `${path}/${keyOf(4)}.gone-01234567`]
    for (const folder of dead) await mkdir(folder)
    expect((await sweepTemplates(host, path, { dryRun: true })).sort()).toEqual(dead)
    expect(existsSync(dead[0]!)).toBe(true)
    expect((await sweepTemplates(host, path)).sort()).toEqual(dead)
    expect(dead.map(existsSync)).toEqual([false, false])
    expect([whole, draft.folder].map(existsSync)).toEqual([true, true])
    await draft.lock.release()
    expect(await sweepTemplates(host, path)).toEqual([draft.folder])
    expect(await sweepTemplates(host, path)).toEqual([])
    expect(await sweepTemplates(host, `${path}/none`)).toEqual([])
  })

  test('a template is gone at once under its name', async () => {
    const folder = await put(1)
    await dropTemplate(host, folder)
    expect(await readdir(path)).toEqual([])
    await dropTemplate(host, folder) // somebody else was quicker
  })
})

describe('a draft', () => {
  const megabytes = (n: number) => n << 20

  test('takes the room of those used longest ago, but of none in use', async () => {
    for (const n of [1, 2, 3]) await age(await put(n), 100 - n)
    const user = await host.lock(`${path}/${keyOf(1)}`, { shared: true })
    const store = { path, limit: megabytes(4) }
    const { lock } = await openDraft(host, store, { key: keyOf(4), most: megabytes(1.5) })
    await user.release()
    await lock.release()
    expect((await keys()).sort()).toEqual([keyOf(1), keyOf(3), keyOf(4)])
  })

  test('is refused where all room is of templates in use', async () => {
    const folder = await put(1, { megabytes: 3 })
    const user = await host.lock(folder, { shared: true })
    const opening = openDraft(
      host,
      { path, limit: megabytes(4) },
      { key: keyOf(2), most: megabytes(2) },
    )
    await expect(opening).rejects.toThrow(/needs up to 2M/)
    await user.release()
    expect(await keys()).toEqual([keyOf(1)])
  })

  test('removes nothing where there is room', async () => {
    await put(1)
    const store = { path, limit: megabytes(10) }
    const { lock } = await openDraft(host, store, { key: keyOf(2), most: megabytes(1) })
    await lock.release()
    expect((await keys()).sort()).toEqual([keyOf(1), keyOf(2)])
  })

  test('that cannot have room is refused, and says how to have more', async () => {
    const store = { path, limit: megabytes(4) }
    const error = await openDraft(host, store, { key: keyOf(1), most: megabytes(5) }).catch(
      (e) => e,
    )
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(/a template needs up to 5M, and .* has 4M/)
    expect(error.hint).toContain('VITEST_DUT_TEMPLATES')
    expect(await readdir(path)).toEqual([])
  })

  test('begins empty, whatever a dead maker left', async () => {
    const store = { path, limit: megabytes(4) }
    await mkdir(`${path}/${keyOf(1)}.draft`)
    await writeFile(`${path}/${keyOf(1)}.draft/memory`, 'half')
    const { folder, lock } = await openDraft(host, store, { key: keyOf(1), most: 1 })
    expect(await readdir(folder)).toEqual([])
    await lock.release()
  })
})
