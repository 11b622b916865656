import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { Host } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { listGuests, pruneGuests } from '../../src/image/cached.ts'
import { ensureGuest, findGuest } from '../../src/image/guest.ts'
import { readRecipe } from '../../src/image/recipe.ts'
import { fakeGuest } from '../support/fake-recipe.ts'
import { startProcess } from '../support/process.ts'

const host = localHost()
/** The fake guest's, which no version of the package uses. */
const FAKE = 'f'.repeat(16)
const CURRENT = (await readRecipe()).key.slice(0, 16)
const OLD = '0123456789abcdef'

let cacheDir = ''
let log = ''
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'guest-cache-'))
  log = `${cacheDir}/log`
})
afterEach(() => rm(cacheDir, { recursive: true, force: true }))

/** A guest, or a draft, as a build has made it some days ago. */
async function put(name: string, daysAgo: number): Promise<void> {
  const folder = `${cacheDir}/guest/${name}`
  await mkdir(folder, { recursive: true })
  await writeFile(`${folder}/root`, 'x'.repeat(1000))
  await writeFile(`${folder}/guest.json`, '{}')
  const then = Date.now() / 1000 - daysAgo * 86_400
  await utimes(folder, then, then)
}

const folders = async () => {
  const names = await readdir(`${cacheDir}/guest`)
  return names.filter((name) => !/\.(lock|use)$/.test(name)).sort()
}

function startUser() {
  const user = startProcess('take-guest.ts', [cacheDir, log], { lockDir: cacheDir })
  onTestFinished(() => user.kill())
  return user
}

describe('the list', () => {
  test('of a cache that is not there is empty', async () => {
    expect(await listGuests(host, `${cacheDir}/none`)).toEqual([])
  })

  test('has the newest first, and nothing that is not a guest', async () => {
    await put(OLD, 2)
    await put(CURRENT, 3)
    await put(`${OLD}.draft-01234567`, 1)
    for (const name of ['notes', `${OLD}.old`, 'ABCDEF0123456789']) await put(name, 0)
    await writeFile(`${cacheDir}/guest/${OLD}.lock`, '')
    const guests = await listGuests(host, cacheDir)
    const { mtimeMs } = await stat(`${cacheDir}/guest/${CURRENT}`)
    const common = { bytes: 1002, inUse: false }
    expect(guests).toMatchObject([
      { ...common, key: OLD, complete: false, current: false },
      { ...common, key: OLD, complete: true, current: false },
      { ...common, key: CURRENT, complete: true, current: true, builtAt: mtimeMs },
    ])
    expect(guests[0]?.folder).toBe(`${cacheDir}/guest/${OLD}.draft-01234567`)
  })
})

describe('pruning', () => {
  test('leaves the current guest and what is not ours, and takes all else', async () => {
    await put(OLD, 2)
    await put(CURRENT, 3)
    await put(`${CURRENT}.draft-01234567`, 3)
    await put('notes', 1)
    const { removed, kept } = await pruneGuests(host, { cacheDir })
    expect(removed.map(({ folder }) => folder)).toEqual([
      `${cacheDir}/guest/${OLD}`,
      `${cacheDir}/guest/${CURRENT}.draft-01234567`,
    ])
    expect(kept.map(({ key }) => key)).toEqual([CURRENT])
    expect(await folders()).toEqual([CURRENT, 'notes'].sort())
  })

  test('removes nothing where it is only asked what it would remove', async () => {
    await put(OLD, 2)
    const { removed } = await pruneGuests(host, { cacheDir, dryRun: true })
    expect(removed.map(({ key }) => key)).toEqual([OLD])
    expect(await folders()).toEqual([OLD])
  })

  test('leaves a guest until the last process that got it is gone', async () => {
    await ensureGuestOfAnother()
    const users = [startUser(), startUser()]
    for (const user of users) expect(await user.line()).toBe(`${cacheDir}/guest/${FAKE}`)
    for (const user of users) {
      expect(await pruneGuests(host, { cacheDir })).toMatchObject({ removed: [] })
      expect(await listGuests(host, cacheDir)).toMatchObject([{ key: FAKE, inUse: true }])
      await user.kill()
    }
    expect(await pruneGuests(host, { cacheDir })).toMatchObject({ removed: [{ key: FAKE }] })
    expect(await folders()).toEqual([])
  })

  test('leaves a guest that somebody got while it was looked at', async () => {
    await ensureGuestOfAnother()
    const late: Host = {
      ...host,
      held: async (paths) => {
        const answers = await host.held(paths)
        await startUser().line()
        return answers
      },
    }
    const { removed, kept } = await pruneGuests(late, { cacheDir })
    expect(removed).toEqual([])
    expect(kept).toMatchObject([{ key: FAKE, inUse: true }])
    expect(await folders()).toEqual([FAKE])
  })

  test('leaves what is being built', async () => {
    const go = `${cacheDir}/go`
    const builder = startProcess('builder.ts', [cacheDir, log, go], { lockDir: cacheDir })
    onTestFinished(() => builder.kill())
    expect(await builder.line()).toContain('guest: building')
    const { removed, kept } = await pruneGuests(host, { cacheDir })
    expect(removed).toEqual([])
    expect(kept).toMatchObject([{ key: FAKE, complete: false, inUse: true }])
    await builder.kill()
    expect(await pruneGuests(host, { cacheDir })).toMatchObject({ removed: [{ key: FAKE }] })
  })

  test('never takes a guest from one that has just got it', { timeout: 120_000 }, async () => {
    const users = Array.from({ length: 8 }, startUser)
    const got = Promise.all(users.map((user) => user.line()))
    let waiting = true
    const settled = () => {
      waiting = false
    }
    got.then(settled, settled)
    while (waiting) await pruneGuests(host, { cacheDir })
    await pruneGuests(host, { cacheDir })
    expect(new Set(await got)).toEqual(new Set([`${cacheDir}/guest/${FAKE}`]))
    for (const user of users) await user.kill()
    // None has printed a second line, that something of it was gone.
    for (const user of users) await expect(user.line()).rejects.toThrow('SIGKILL')
  })
})

test('who asks while a guest is being removed gets a new one', async () => {
  await ensureGuestOfAnother()
  const lock = await host.lock(`${cacheDir}/guest/${FAKE}.use`)
  const user = startUser()
  const line = user.line()
  await rm(`${cacheDir}/guest/${FAKE}`, { recursive: true })
  await lock.release()
  expect(await line).toBe(`${cacheDir}/guest/${FAKE}`)
  expect((await readdir(`${cacheDir}/guest/${FAKE}`)).length).toBe(4)
})

test('a guest that was removed by hand is built anew in the same process', async () => {
  const custom = fakeGuest({ log })
  const { dir } = await ensureGuest({ host, cacheDir, custom })
  await rm(dir, { recursive: true })
  expect(await ensureGuest({ host, cacheDir, custom })).toMatchObject({ dir })
  expect((await readdir(dir)).length).toBe(4)
  expect(await pruneGuests(host, { cacheDir })).toMatchObject({ removed: [] })
})

test('the current guest is found where it is built, and not made', async () => {
  expect(await findGuest(host, cacheDir)).toBeUndefined()
  await put(CURRENT, 1)
  expect(await findGuest(host, cacheDir)).toMatchObject({ dir: `${cacheDir}/guest/${CURRENT}` })
})

/** Has a process build the fake guest and end. */
async function ensureGuestOfAnother(): Promise<void> {
  const go = `${cacheDir}/go`
  await writeFile(go, '')
  const builder = startProcess('builder.ts', [cacheDir, log, go], { lockDir: cacheDir })
  expect(await builder.exited).toMatchObject({ code: 0 })
}
