import { execFile } from 'node:child_process'
import { chmod, chown, readdir, symlink, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeEach, describe, expect, test } from 'vitest'
import { admit } from '../../../src/lease/admission/admit.ts'
import { sweepLeases } from '../../../src/lease/admission/sweep.ts'
import { readLedger } from '../../../src/lease/ledger/records.ts'
import { lockFolder } from '../../../src/lease/locks/folder.ts'
import type { Need } from '../../../src/lease/resources/needs.ts'
import { startQemu } from '../../../src/qemu/process.ts'
import { AS_NOBODY, name, useApplicants } from '../../support/applicants.ts'

const { locks, here, apply, untilQueued, files } = useApplicants()
const isRoot = userInfo().uid === 0
const held = async () =>
  (await readLedger(here.host)).leases.flatMap(({ holding }) => holding.names).sort()

// The folder's own, for other users to come to it.
beforeEach(async () => {
  await chmod(join(locks.path, '..'), 0o755)
  await lockFolder(here.host)
})

/** Milliseconds until it has what it asked for. */
async function timeUntil(has: Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await has
  return performance.now() - startedAt
}

describe('what the dead had', () => {
  test('is given to the next within seconds', async () => {
    const holder = apply([name('a'), { dut: 'dut0', ports: 3 }])
    await holder.has()
    const waiter = apply([name('a')])
    await untilQueued(1)
    await holder.kill()
    expect(await timeUntil(waiter.has())).toBeLessThan(5000)
  })

  test('of ports is given to who finds too few', async () => {
    const ports: Need = { dut: 'dut0', ports: 3, portRange: [20_990, 20_993] }
    const holder = apply([ports])
    await holder.has()
    await expect(admit(here.host, [ports])).rejects.toThrow(/of 20990 to 20993/)
    await holder.kill()
    const [mine] = await admit(here.host, [ports])
    expect(mine?.holding.ports).toHaveLength(3)
    await mine?.release()
    await sweepLeases(here.host)
    expect(await files()).toEqual([])
  })

  test('does not keep a place in the queue', async () => {
    const holder = apply([name('a')])
    await holder.has()
    const first = apply([name('a'), name('b')])
    await untilQueued(1)
    const second = apply([name('a')])
    await untilQueued(2)
    await first.kill()
    await holder.giveBack()
    expect(await timeUntil(second.has())).toBeLessThan(5000)
    await second.giveBack()
    await sweepLeases(here.host)
    expect(await files()).toEqual([])
  })

  test('stays taken while a program that it was for is alive', async () => {
    const holder = apply([name('a')])
    const [file = ''] = await holder.files()
    const dir = join(locks.path, '..')
    const program = startQemu(here.host, ['tail', '-f', '/dev/null'], { dir, lockFile: file })
    await expect.poll(() => here.host.held([file])).toEqual([true])
    const waiter = apply([name('a')])
    await untilQueued(1)
    await holder.kill()
    expect(await waiter.waits()).toContain('needs a')
    expect(await waiter.waits()).toContain('needs a')
    expect((await sweepLeases(here.host)).leases).toEqual([])
    program.kill()
    await program.exited
    expect(await timeUntil(waiter.has())).toBeLessThan(5000)
  })

  test.runIf(isRoot).each([
    ['root', [], AS_NOBODY, 2],
    ['another user', AS_NOBODY, [], 1],
  ])('is given on where it was %s’s', async (_, theirs, mine, left) => {
    const holder = apply([name('a')], { prefix: theirs })
    await holder.has()
    const waiter = apply([name('a')], { prefix: mine })
    await untilQueued(1)
    await holder.kill()
    await waiter.has()
    // Only root, and whoever made it, can remove a record.
    expect(await held()).toHaveLength(left)
    await waiter.giveBack()
    const next = apply([name('a')], { prefix: mine })
    await next.has()
    await next.giveBack()
    await sweepLeases(here.host)
    expect(await files()).toEqual([])
  })
})

describe('a sweep', () => {
  test('of the living takes nothing', async () => {
    const holder = apply([name('a')])
    await holder.has()
    const waiter = apply([name('a')])
    await untilQueued(1)
    const mine = await admit(here.host, [name('b')])
    const before = await files()
    expect(before).toHaveLength(6)
    const none = { leases: [], wishes: [], owners: [], failed: [] }
    expect(await sweepLeases(here.host)).toMatchObject(none)
    expect(await files()).toEqual(before)
    await holder.giveBack()
    await waiter.has()
    await mine[0]?.release()
  })

  test('of the dead takes all, and tells first what it would take', async () => {
    const holder = apply([name('a'), name('b')])
    await holder.has()
    const waiter = apply([name('a')])
    await untilQueued(1)
    const alive = apply([name('c')])
    await alive.has()
    await Promise.all([holder.kill(), waiter.kill()])
    const before = await files()
    const dry = await sweepLeases(here.host, { dryRun: true })
    expect(await files()).toEqual(before)
    const swept = await sweepLeases(here.host)
    expect(swept).toEqual(dry)
    expect(swept.leases.map(({ holding }) => holding.names[0]).sort()).toEqual(['a', 'b'])
    expect(swept.wishes.map(({ holder: { pid } }) => pid)).toEqual([waiter.process.pid])
    expect(swept.owners).toHaveLength(2)
    expect(await held()).toEqual(['c'])
    await alive.giveBack()
    expect(await files()).toEqual([])
  })
})

const ID = '0123456789ab'
const holder = { user: 'x', pid: 1, program: 'x', folder: '/', since: 0 }
const nothing = { memory: 0, cpus: [], ports: [], pci: [], bridges: [], names: [] }
const lease = { owner: `owner@${ID}`, holder, dut: 'd', holding: nothing }
const wish = { owner: `owner@${ID}`, holder, dut: 'd', turn: 0, needs: [], lacks: ['name a'] }
const all = { ...nothing, names: ['a'] }

const texts: [string, 'lease' | 'wish', string | object][] = [
  ['nothing', 'lease', ''],
  ['no JSON', 'lease', 'garbage\n'],
  ['bytes', 'wish', '\0\xff\n'],
  ['no object', 'lease', '1\n'],
  ['null', 'wish', 'null\n'],
  ['a list', 'lease', '[]\n'],
  ['an empty object', 'wish', {}],
  ['half a record', 'lease', JSON.stringify({ ...lease, holding: all })],
  [
    'an owner that is elsewhere',
    'lease',
    { ...lease, holding: all, owner: 'owner@../../../etc/passwd' },
  ],
  ['an owner that is dead', 'lease', { ...lease, holding: all }],
  ['a wish of the dead', 'wish', wish],
  ['no holder', 'lease', { ...lease, holding: all, holder: null }],
  ['a holder without a name', 'lease', { ...lease, holding: all, holder: {} }],
  ['no holding', 'lease', { ...lease, holding: null }],
  ['a lease that waits', 'lease', wish],
  ['a wish that has', 'wish', { ...lease, holding: all }],
  ['no lacks', 'wish', { ...wish, lacks: undefined }],
  ['lacks that are no list', 'wish', { ...wish, lacks: 'name a' }],
  ['a turn that is none', 'wish', { ...wish, turn: 'first' }],
  ['a turn before all', 'wish', { ...wish, turn: -1 }],
  ['pages that are none', 'lease', { ...lease, holding: { ...all, pages: 'all' } }],
  [
    'pages without a count',
    'lease',
    { ...lease, holding: { ...all, pages: { size: '2M', node: 0 } } },
  ],
  ['cpus that are none', 'lease', { ...lease, holding: { ...all, cpus: [{}] } }],
  ['devices that are none', 'lease', { ...lease, holding: { ...all, pci: [null, 1] } }],
  ['names that are none', 'lease', { ...lease, holding: { ...all, names: [null, 'a'] } }],
  ['a process that is none', 'lease', { ...lease, holding: all, qemu: '../1' }],
  ['a prototype', 'lease', `{"__proto__":${JSON.stringify({ ...lease, holding: all })}}\n`],
]

describe('a file in the lock folder that is none of ours harms nobody', () => {
  /** Somebody has `a`, somebody else waits for it, and somebody sweeps: all of them do as always. */
  async function live(): Promise<void> {
    const first = await admit(here.host, [name('a')], { timeoutMs: 10_000 })
    expect(await sweepLeases(here.host, { dryRun: true })).toBeDefined()
    const second = admit(here.host, [name('a')], { timeoutMs: 1 })
    await expect(second).rejects.toThrow('a test needs a; it is promised to a test on dut0')
    await first[0]?.release()
    await sweepLeases(here.host)
  }
  const left = async () => (await files()).filter((file) => !file.endsWith(ID))

  test.each(texts)('%s', async (_, kind, text) => {
    const path = join(locks.path, `${kind}@${ID}`)
    await writeFile(path, typeof text === 'string' ? text : `${JSON.stringify(text)}\n`)
    await live()
    expect(await left()).toEqual([])
  })

  test.each([
    ['a pipe', 'lease', ['mkfifo']],
    ['a pipe for an owner', 'owner', ['mkfifo']],
    ['a folder', 'lease', ['mkdir']],
    ['a folder for an owner', 'owner', ['mkdir']],
    ['a large file', 'lease', ['truncate', '--size=3G']],
    ['a large owner', 'owner', ['truncate', '--size=3G']],
  ] as const)('%s', async (_, kind, [program = '', ...args]) => {
    await promisify(execFile)(program, [...args, join(locks.path, `${kind}@${ID}`)])
    await live()
    expect(await left()).toEqual([])
  })

  test.each(['lease', 'wish', 'owner'])('a link as %s leads nowhere', async (kind) => {
    const target = join(locks.path, '..', 'target')
    await writeFile(target, `${JSON.stringify({ ...lease, holding: all })}\n`)
    await symlink(target, join(locks.path, `${kind}@${ID}`))
    await live()
    expect(await left()).toEqual([])
    expect(await readdir(join(locks.path, '..'))).toContain('target')
  })

  test.runIf(isRoot)('what somebody else may not read', async () => {
    const path = join(locks.path, `lease@${ID}`)
    await writeFile(path, `${JSON.stringify({ ...lease, holding: all })}\n`)
    await chmod(path, 0o600)
    const other = apply([name('a')], { prefix: AS_NOBODY })
    await other.has()
    await other.giveBack()
    await chown(path, 65534, 65534)
    await live()
    expect(await files()).toEqual([])
  })
})
