import { readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { describe, expect, test, vi } from 'vitest'
import { InfrastructureError } from '../../../src/errors.ts'
import type { Host } from '../../../src/host/host.ts'
import { localHost } from '../../../src/host/local.ts'
import { lockPath } from '../../../src/lease/locks/folder.ts'
import { section } from '../../../src/lease/locks/section.ts'
import { useSectionProcesses } from '../../support/section-processes.ts'

const { start, holder, untilWaiting } = useSectionProcesses()

describe('waiting', () => {
  test('too long: the error names the section, the wait and who is inside', async () => {
    const { pid, say, line } = await holder('hugepages')
    const waiting = section(localHost(), 'hugepages', () => {}, { timeout: 300 })
    const error = await waiting.catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(
      /section 'hugepages' was not free: held by .* for (\d+ ms|\d+\.\d s)/,
    )
    expect(error.message).toContain(`process ${pid}, `)
    expect(error.message).toContain(process.cwd())
    expect(error.elapsedMs).toBeGreaterThanOrEqual(299)
    await untilWaiting(0)
    say('leave')
    expect(await line()).toBe('outside')
    expect(await section(localHost(), 'hugepages', () => 'in', { timeout: '5s' })).toBe('in')
  })

  test('too long within the process: those who still wait get their turn', async () => {
    const host = localHost()
    const { promise, resolve } = Promise.withResolvers<void>()
    const first = section(host, 's', () => promise)
    const second = section(host, 's', () => {}, { timeout: 200 })
    const third = section(host, 's', () => 'third')
    await expect(second).rejects.toThrow("section 's' was not free")
    resolve()
    await first
    expect(await third).toBe('third')
  })

  test('aborted: it ends with the reason, leaves no flock, and never enters later', async () => {
    const { say, line } = await holder('s')
    const stop = new AbortController()
    const fn = vi.fn()
    const waiting = section(localHost(), 's', fn, { signal: stop.signal })
    await untilWaiting(1)
    stop.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    await untilWaiting(0)
    say('leave')
    expect(await line()).toBe('outside')
    expect(await section(localHost(), 's', () => 'in', { timeout: '5s' })).toBe('in')
    expect(fn).not.toHaveBeenCalled()
  })

  test('aborted before: nothing is tried', async () => {
    const signal = AbortSignal.abort(new Error('before'))
    await expect(section(localHost(), 's', () => {}, { signal })).rejects.toThrow('before')
  })

  test('aborted in the line before it: nobody behind it is kept', async () => {
    const first = await holder('s')
    const stop = new AbortController()
    const second = start('hold-section.ts', 's')
    await untilWaiting(1, 'first')
    const third = section(localHost(), 's', () => {}, { signal: stop.signal })
    await untilWaiting(1, 'behind')
    stop.abort(new Error('enough'))
    await expect(third).rejects.toThrow('enough')
    await untilWaiting(1)
    first.say('leave')
    expect(await second.line()).toContain('inside')
    second.say('leave')
    expect(await section(localHost(), 's', () => 'in', { timeout: '5s' })).toBe('in')
  })

  test('names that look like those of lines are sections as others', async () => {
    await holder('s')
    start('hold-section.ts', 's')
    await untilWaiting(1, 'first')
    for (const name of ['line-s', 's.line', '../line-s']) {
      expect(await section(localHost(), name, () => 'in', { timeout: '5s' })).toBe('in')
    }
  })

  test('a time that is none is refused', async () => {
    await expect(section(localHost(), 's', () => {}, { timeout: 5 })).rejects.toThrow("write '5s'")
  })
})

describe('while it waits', () => {
  /** Enters once `until` of the lines have come, and the holder has been told to leave. */
  async function told(host: Host, until: number, leave: () => void) {
    const lines: { text: string; afterMs: number }[] = []
    const askedAt = performance.now()
    const onWait = (text: string) => {
      lines.push({ text, afterMs: performance.now() - askedAt })
      if (lines.length === until) leave()
    }
    expect(await section(host, 's', () => 'in', { onWait })).toBe('in')
    return lines
  }

  test('it is told each second who is inside: user, process, run, suite, for how long', async () => {
    const { pid, say } = await holder('s')
    const lines = await told(localHost(), 2, () => say('leave'))
    const { username } = userInfo()
    const [first = 0, second = 0] = lines.map(({ text }) => {
      const [start, seconds] = text.split(' for ').slice(-2)
      expect(text).toContain(`waits for section 's': held by ${username} (process ${pid}, `)
      expect(start).toMatch(/node in \/.*, run a1b2c3, suite b\.spec\.ts\)$/)
      expect(start).toContain(` in ${process.cwd()}, `)
      expect(seconds).toMatch(/^\d+\.\d s$/)
      return Number.parseFloat(seconds ?? '')
    })
    expect(second).toBeGreaterThan(first)
    const [early, late] = lines.map(({ afterMs }) => afterMs)
    expect(early).toBeGreaterThanOrEqual(999)
    expect((late ?? 0) - (early ?? 0)).toBeGreaterThanOrEqual(999)
  })

  test('also where the one inside is of this process, or shares it', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const host = localHost()
    const first = section(host, 's', () => promise, { owner: { suite: 'own.spec.ts' } })
    const [own] = await told(host, 1, resolve)
    await first
    expect(own?.text).toMatch(new RegExp(`process ${process.pid}, .*suite own.spec.ts`))
    const reader = await holder('s', 'shared')
    const [shared] = await told(host, 1, () => reader.say('leave'))
    expect(shared?.text).toContain("waits for section 's': held in shared mode")
  })

  test('nothing is told where it is free, or free within the second', async () => {
    const host = localHost()
    const onWait = vi.fn()
    await section(host, 's', () => {}, { onWait })
    const { promise, resolve } = Promise.withResolvers<void>()
    const first = section(host, 's', () => promise)
    const second = section(host, 's', () => {}, { onWait })
    resolve()
    await Promise.all([first, second])
    expect(onWait).not.toHaveBeenCalled()
  })

  test('who waited long has not held it for as long', async () => {
    const inside = Promise.withResolvers<void>()
    const { promise, resolve } = Promise.withResolvers<void>()
    const first = section(localHost(), 's', () => {
      inside.resolve()
      return promise
    })
    await inside.promise
    const second = start('hold-section.ts', 's')
    await untilWaiting(1, 'first')
    const leftAt = Date.now()
    resolve()
    await first
    expect(await second.line()).toContain('inside')
    const note = JSON.parse(await readFile(await lockPath(localHost(), 'section-s'), 'utf8'))
    expect(note.since).toBeGreaterThanOrEqual(leftAt)
  })
})
