import { describe, expect, test } from 'vitest'
import { defer, outsideScope, Scope, stopSignal } from '../src/scope.ts'
import { waitFor } from '../src/wait.ts'
import { withScope } from './support/with-scope.ts'

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
          const signal = stopSignal()
          if (stop === a) a.abort(new Error('a timed out'))
          return [signal?.aborted, stopSignal()?.aborted]
        }),
      ),
    )
    expect(seen).toEqual([
      [true, true],
      [false, false],
    ])
  })

  test('does not reach what is started outside of it', async () => {
    await withScope(quiet, async () => {
      expect(outsideScope(() => stopSignal())).toBeUndefined()
      expect(await outsideScope(async () => defer(async () => {}))).toBe(false)
      expect(stopSignal()?.aborted).toBe(false)
    })
  })

  test('stops what waits at a time limit, and nothing that begins to wait after it', async () => {
    const stop = new AbortController()
    const test = Scope.owner()
    const waits: unknown[] = []
    const wait = () => waitFor(never, { signal: stopSignal() }).catch((error) => waits.push(error))
    await test.runUntil(
      stop.signal,
      async () => {
        const early = wait()
        stop.abort('too slow')
        await early
        expect(stopSignal()?.aborted).toBe(false)
        void wait()
      },
      { once: true },
    )
    expect(waits).toEqual(['too slow'])
    await test.end(new Error('over'))
    await Promise.resolve()
    expect(waits).toEqual(['too slow', new Error('over')])
  })

  test('of a part that is stopped for good does not reach the whole, and the other way round', async () => {
    const stop = new AbortController()
    const test = Scope.owner()
    await test.run(async () => {
      const body = Scope.part().runUntil(stop.signal, async () => {
        await waitFor(never, { signal: stopSignal() }).catch(() => {})
        return stopSignal()?.aborted
      })
      stop.abort('too slow')
      expect(await body).toBe(true)
      expect(stopSignal()?.aborted).toBe(false)
      const part = Scope.part()
      await test.end(new Error('over'))
      expect(part.run(() => stopSignal()?.reason)).toEqual(new Error('over'))
    })
  })

  test('that is aborted already lets nothing begin', async () => {
    const reason = new Error('its fixtures were too slow')
    const seen = Scope.part().runUntil(AbortSignal.abort(reason), async () => stopSignal()?.reason)
    expect(await seen).toBe(reason)
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
    expect(Scope.ofFile().run(() => defer(async () => {}))).toBe(false)
  })

  test('in a part is done at the end of the whole', async () => {
    const done: string[] = []
    const whole = Scope.owner()
    const part = whole.run(() => Scope.part())
    expect(part.run(() => defer(async () => void done.push('of the part')))).toBe(true)
    await part.end(new Error('the part is over'))
    expect(done).toEqual([])
    await whole.end(new Error('over'))
    expect(done).toEqual(['of the part'])
  })

  test('after the end is done at once', async () => {
    const test = Scope.owner()
    await test.end(new Error('over'))
    let done = false
    const late = async () => {
      done = true
      throw new Error('nobody hears this')
    }
    expect(test.run(() => defer(late))).toBe(true)
    expect(done).toBe(true)
  })

  test('is done outside of the scope, where waits may still succeed', async () => {
    const test = Scope.owner()
    const signals: unknown[] = []
    test.run(() => defer(async () => void signals.push(stopSignal())))
    await test.end(new Error('over'))
    expect(signals).toEqual([undefined])
  })
})
