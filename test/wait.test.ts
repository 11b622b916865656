import { describe, expect, test } from 'vitest'
import { anySignal, poll, waitFor } from '../src/wait.ts'

const never = new Promise<never>(() => {})

describe('waitFor', () => {
  test('gives what the promise gives, value or error', async () => {
    await expect(waitFor(Promise.resolve(7))).resolves.toBe(7)
    await expect(waitFor(Promise.reject(new Error('no')), { timeoutMs: 1000 })).rejects.toThrow(
      'no',
    )
  })

  test('ends at its deadline, with the error made for it and the time waited', async () => {
    let waited = 0
    const wait = waitFor(never, {
      timeoutMs: 20,
      onTimeout: (elapsedMs) => {
        waited = elapsedMs
        return new RangeError('too long')
      },
    })
    await expect(wait).rejects.toThrow(RangeError)
    expect(waited).toBeGreaterThan(15)
    expect(waited).toBeLessThan(5000)
  })

  test('says how long it waited where no error was made for it', async () => {
    await expect(waitFor(never, { timeoutMs: 5 })).rejects.toThrow('timed out: 5 ms')
  })

  test('ends with the reason of its signal, before its deadline', async () => {
    const stop = new AbortController()
    const wait = waitFor(never, { timeoutMs: 60_000, signal: stop.signal })
    stop.abort(new Error('the VM is gone'))
    await expect(wait).rejects.toThrow('the VM is gone')
  })

  test('of a signal that is aborted already does not look at the promise', async () => {
    const signal = AbortSignal.abort(new Error('over'))
    await expect(waitFor(Promise.resolve(1), { signal })).rejects.toThrow('over')
  })

  test('leaves no listener and no timer behind', async () => {
    const stop = new AbortController()
    let listeners = 0
    const { addEventListener, removeEventListener } = stop.signal
    stop.signal.addEventListener = function (this: AbortSignal, ...args: never[]) {
      listeners += 1
      return Reflect.apply(addEventListener, this, args)
    }
    stop.signal.removeEventListener = function (this: AbortSignal, ...args: never[]) {
      listeners -= 1
      return Reflect.apply(removeEventListener, this, args)
    }
    const timers = () =>
      process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
    const before = timers()
    const options = { timeoutMs: 600_000, signal: stop.signal }
    await waitFor(Promise.resolve(), options)
    await waitFor(Promise.reject(new Error('x')), options).catch(() => {})
    await waitFor(never, { ...options, timeoutMs: 1 }).catch(() => {})
    expect(listeners).toBe(0)
    expect(timers()).toBeLessThanOrEqual(before)
  })
})

describe('poll', () => {
  test('asks until there is an answer; false and 0 are answers', async () => {
    let asked = 0
    await expect(poll(() => (++asked < 3 ? undefined : 0), { everyMs: 1 })).resolves.toBe(0)
    expect(asked).toBe(3)
    await expect(poll(async () => false)).resolves.toBe(false)
  })

  test('asks no more once its deadline has passed', async () => {
    let asked = 0
    const wait = poll(() => void asked++, { everyMs: 1, timeoutMs: 30 })
    await expect(wait).rejects.toThrow('timed out')
    const then = asked
    expect(then).toBeGreaterThan(1)
    await poll(() => (Date.now() > 0 ? true : undefined), { everyMs: 5 })
    await waitFor(never, { timeoutMs: 20 }).catch(() => {})
    expect(asked).toBe(then)
  })

  test('ends when its signal is aborted, although the probe hangs', async () => {
    const stop = new AbortController()
    const wait = poll(() => never, { signal: stop.signal })
    stop.abort(new Error('enough'))
    await expect(wait).rejects.toThrow('enough')
  })

  test('ends with the error of its probe', async () => {
    const probe = () => {
      throw new Error('no such counter')
    }
    await expect(poll(probe)).rejects.toThrow('no such counter')
  })
})

test('anySignal: none of none, the one of one, any of several', () => {
  const [a, b] = [new AbortController(), new AbortController()]
  expect(anySignal()).toBeUndefined()
  expect(anySignal(undefined, a.signal)).toBe(a.signal)
  const both = anySignal(a.signal, undefined, b.signal)
  b.abort('b')
  expect(both?.reason).toBe('b')
})
