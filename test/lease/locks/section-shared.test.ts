import { describe, expect, test } from 'vitest'
import { localHost } from '../../../src/host/local.ts'
import { section } from '../../../src/lease/locks/section.ts'
import { poll } from '../../../src/wait.ts'
import { results, tell, useSectionProcesses } from '../../support/section-processes.ts'

const { start, holder, untilWaiting, counting } = useSectionProcesses()

const SOON = { timeoutMs: 20_000 }

describe('shared', () => {
  const shared = { shared: true }

  test('several are inside at once, of several processes, and none that does not share', async () => {
    const readers = await Promise.all([1, 2, 3].map(() => holder('s', 'shared')))
    const inside = section(localHost(), 's', () => section(localHost(), 'o', () => 'in'), shared)
    expect(await inside).toBe('in')
    const alone = section(localHost(), 's', () => {}, { timeout: 300 })
    await expect(alone).rejects.toThrow("section 's' was not free: held in shared mode")
    for (const reader of readers) reader.say('leave')
    const writer = holder('s')
    expect((await writer).child).toBe(0)
    const late = section(localHost(), 's', () => {}, { ...shared, timeout: 300 })
    await expect(late).rejects.toThrow(`process ${(await writer).pid}`)
  })

  test('turns within a process come in the order of asking, whatever the mix', async () => {
    const host = localHost()
    const order: string[] = []
    const both = Promise.withResolvers<void>()
    let readers = 0
    const alone = (who: string) =>
      section(host, 's', () => {
        order.push(who)
        expect(readers).toBe(0)
      })
    const together = (who: string, gate?: Promise<void>) =>
      section(
        host,
        's',
        async () => {
          order.push(who)
          if (++readers === 2) both.resolve()
          await gate
          readers -= 1
        },
        shared,
      )
    await Promise.all([
      ...[alone('w1'), together('r1', both.promise), together('r2', both.promise)],
      ...[alone('w2'), alone('w3'), together('r3')],
    ])
    expect(order).toEqual(['w1', 'r1', 'r2', 'w2', 'w3', 'r3'])
  })

  test('readers and writers of several processes: none is lost, readers meet', async () => {
    const { begin, counter, log } = await counting()
    const writers = await begin(3, 15)
    const readers = await begin(3, 15, 'shared')
    tell([...writers, ...readers])
    const [, ...rest] = await Promise.all([results(writers), results(readers)])
    expect(await counter()).toBe(45)
    expect((await log()).replaceAll('w', '')).toBe('r'.repeat(45))
    expect(Math.max(...rest.flat().map(({ mostReaders }) => mostReaders))).toBeGreaterThan(1)
  })

  // The ones that keep coming are never all outside unless they are kept from coming in.
  test.each([
    ['a writer gets in while readers keep coming', ['shared'], []],
    ['readers get in while writers keep coming', [], ['shared']],
  ])('%s', async (_, theirs, ours) => {
    const { begin, log } = await counting()
    const others = await begin(4, 'until told', ...theirs)
    const [one] = await begin(1, 5, ...ours)
    tell(others)
    const [their, our] = theirs.length > 0 ? ['r', 'w'] : ['w', 'r']
    await poll(async () => ((await log()).length >= 20 ? true : undefined), SOON)
    const before = (await log()).length
    one?.say('go')
    await results([one!])
    const since = (await log()).slice(before)
    tell(others)
    await results(others)
    // Each entry of ours is passed by those in line before it, and by some that come while it asks.
    const passed = since.split(our ?? '').slice(0, 5)
    expect(since).toContain(their)
    for (const entries of passed) expect(entries.length).toBeLessThan(4 * 10)
  })

  test.each([['shared'], ['alone']])('killed inside, %s: the next is in at once', async (how) => {
    const first = await holder('s', how)
    const waiting = start('hold-section.ts', 's', how === 'shared' ? '' : 'shared')
    await untilWaiting(1, 'first')
    await first.kill()
    expect(await waiting.line()).toContain('inside')
  })

  test('killed in the line: those behind it move up', async () => {
    const first = await holder('s')
    const second = start('hold-section.ts', 's')
    await untilWaiting(1, 'first')
    const third = start('hold-section.ts', 's', 'shared')
    await untilWaiting(1, 'behind')
    await second.kill()
    await untilWaiting(0, 'behind')
    first.say('leave')
    expect(await third.line()).toContain('inside')
  })

  test('entered from inside itself is refused, whichever of the two shares it', async () => {
    const host = localHost()
    for (const [outer, inner] of [
      [shared, shared],
      [shared, {}],
      [{}, shared],
    ]) {
      const nested = section(host, 's', () => section(host, 's', () => {}, inner), outer)
      await expect(nested).rejects.toThrow("section 's' is entered from inside itself")
    }
  })
})
