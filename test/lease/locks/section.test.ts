import { readFile, stat, symlink } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { InfrastructureError, UsageError } from '../../../src/errors.ts'
import { localHost } from '../../../src/host/local.ts'
import { lockPath } from '../../../src/lease/locks/folder.ts'
import { section } from '../../../src/lease/locks/section.ts'
import { results, tell, useSectionProcesses } from '../../support/section-processes.ts'
import { stopTime } from '../../support/stop-time.ts'

const { holder, flocksWaiting, counting } = useSectionProcesses()

const sum = (values: number[]) => values.reduce((a, b) => a + b, 0)
const median = (values: number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

describe('one at a time', () => {
  test('over several processes and within each, no count is lost', async () => {
    const { begin, counter } = await counting()
    const processes = await begin(4, 25, 'at once')
    tell(processes)
    await results(processes)
    expect(await counter()).toBe(100)
  })

  test('16 processes, 50 entries each: none is lost, and none is starved', async () => {
    const { begin, counter } = await counting()
    const processes = await begin(16, 50)
    tell(processes)
    const all = await results(processes)
    expect(await counter()).toBe(800)
    const totals = all.map(({ waits }) => sum(waits))
    expect(Math.max(...totals)).toBeLessThan(4 * median(totals))
    // Single waits are counted in entries: a busy machine makes all of them long for a while.
    const passed = all.flatMap((result) => result.passed)
    expect(Math.max(...passed)).toBeLessThan(4 * median(passed))
  })

  test('sections of different names do not wait for each other', async () => {
    await section(localHost(), 'one', async () => {
      expect(await section(localHost(), 'other', () => 'in', { timeout: '5s' })).toBe('in')
    })
  })

  test('turns within a process are given in the order of asking', async () => {
    const host = localHost()
    const order: number[] = []
    await Promise.all([1, 2, 3, 4, 5].map((n) => section(host, 's', () => order.push(n))))
    expect(order).toEqual([1, 2, 3, 4, 5])
  })

  test('the result comes through, and an error lets the next one in', async () => {
    const host = localHost()
    expect(await section(host, 's', () => 42)).toBe(42)
    const failing = section(host, 's', () => {
      throw new Error('inside')
    })
    await expect(failing).rejects.toThrow('inside')
    expect(await section(host, 's', () => 43, { timeout: '5s' })).toBe(43)
  })
})

describe('the holder goes away', () => {
  test('killed: the next one is inside at once, and not when it looks again', async () => {
    const first = await holder('s')
    stopTime()
    const waiting = section(localHost(), 's', () => 'in')
    await expect.poll(() => flocksWaiting('first')).toBe(1)
    await first.kill() // from here on no time passes for who would look again
    expect(await waiting).toBe('in')
  })

  test('killed: what it started and left behind does not keep the section', async () => {
    const first = await holder('s', 'child')
    try {
      await first.kill()
      expect(await section(localHost(), 's', () => 'in', { timeout: '5s' })).toBe('in')
      expect(process.kill(first.child, 0), 'the child lives on').toBe(true)
    } finally {
      process.kill(first.child, 'SIGKILL')
    }
  })

  test('the file is made once and its note is gone afterwards', async () => {
    const host = localHost()
    const path = await lockPath(host, 'section-s')
    const inside = await section(host, 's', async () => ({
      inode: (await stat(path)).ino,
      note: JSON.parse(await readFile(path, 'utf8')),
    }))
    expect(inside.note).toMatchObject({ pid: process.pid, folder: process.cwd() })
    await section(host, 's', () => {})
    const after = await stat(path)
    expect(after).toMatchObject({ ino: inside.inode, size: 0 })
    expect(after.mode & 0o777).toBe(0o666)
  })
})

describe('entering a section from inside', () => {
  test('the same one is refused instead of waiting for ever', async () => {
    const host = localHost()
    const nested = section(host, 's', () =>
      section(host, 'other', () => section(host, 's', () => {})),
    )
    await expect(nested).rejects.toThrow(UsageError)
    await expect(nested).rejects.toThrow("section 's' is entered from inside itself")
  })

  test('what was started inside may enter it once that has ended', async () => {
    const host = localHost()
    const { promise, resolve } = Promise.withResolvers<void>()
    let later: Promise<string> | undefined
    await section(host, 's', () => {
      later = promise.then(() => section(host, 's', () => 'later'))
    })
    resolve()
    expect(await later).toBe('later')
  })
})

test('a link in the place of the lock file is refused', async () => {
  const host = localHost()
  await symlink('/etc/hostname', await lockPath(host, 'section-s'))
  const entering = section(host, 's', () => {})
  await expect(entering).rejects.toThrow(InfrastructureError)
  await expect(entering).rejects.toThrow(/section-s cannot be opened.*ELOOP/)
})
