import { describe, expect, test } from 'vitest'
import { defer, outsideScope, stopSignal, withScope } from '../src/scope.ts'
import { waitFor } from '../src/wait.ts'

const never = new Promise<never>(() => {})
const { signal: quiet } = new AbortController()

describe('the signal of a scope', () => {
  test('stops a wait deep inside, behind other awaits', async () => {
    const stop = new AbortController()
    const deep = async () => {
      await Promise.resolve()
      return waitFor(never, { signal: stopSignal() })
    }
    const running = withScope(stop.signal, () => deep())
    stop.abort(new Error('the test timed out'))
    await expect(running).rejects.toThrow('the test timed out')
  })

  test('joins the signals given; there is none where nothing can stop the wait', async () => {
    expect(stopSignal()).toBeUndefined()
    const own = new AbortController()
    expect(stopSignal(undefined, own.signal)).toBe(own.signal)
    await withScope(quiet, async () => {
      const both = stopSignal(own.signal)
      expect(both?.aborted).toBe(false)
      own.abort('own')
      expect(both?.reason).toBe('own')
    })
  })

  test('of two scopes at once, each has its own', async () => {
    const [a, b] = [new AbortController(), new AbortController()]
    const seen = await Promise.all(
      [a, b].map((stop) =>
        withScope(stop.signal, async () => {
          await Promise.resolve()
          return stopSignal()
        }),
      ),
    )
    expect(seen).toEqual([a.signal, b.signal])
    expect(seen[0]).not.toBe(seen[1])
  })

  test('does not reach what is started outside of it', async () => {
    await withScope(quiet, async () => {
      expect(outsideScope(() => stopSignal())).toBeUndefined()
      expect(await outsideScope(async () => defer(async () => {}))).toBe(false)
      expect(stopSignal()).toBe(quiet)
    })
  })
})

describe('what is deferred', () => {
  test('is done when the scope has ended, last first, one after another', async () => {
    const done: string[] = []
    const result = await withScope(quiet, async () => {
      for (const name of ['first', 'second']) {
        expect(
          defer(async () => {
            done.push(`${name} begins`)
            await Promise.resolve()
            done.push(`${name} ends`)
          }),
        ).toBe(true)
      }
      done.push('body')
      return 7
    })
    expect(result).toBe(7)
    expect(done).toEqual(['body', 'second begins', 'second ends', 'first begins', 'first ends'])
  })

  test('is done although the body failed, and the error is the body’s', async () => {
    let done = false
    const running = withScope(quiet, async () => {
      defer(async () => {
        done = true
        throw new Error('clean-up failed')
      })
      throw new Error('the body failed')
    })
    await expect(running).rejects.toThrow('the body failed')
    expect(done).toBe(true)
  })

  test('is done although another clean-up failed, whose error is told', async () => {
    const done: string[] = []
    const running = withScope(quiet, async () => {
      defer(async () => void done.push('first'))
      defer(async () => {
        throw new Error('second failed')
      })
      defer(async () => void done.push('third'))
    })
    await expect(running).rejects.toThrow('second failed')
    expect(done).toEqual(['third', 'first'])
  })

  test('outside of any scope is refused', () => {
    expect(defer(async () => {})).toBe(false)
  })
})
