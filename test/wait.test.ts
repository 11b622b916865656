import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { access, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { wallClock } from '../src/time.ts'
import { poll, turn, waitFor } from '../src/wait.ts'

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

  test('fails with what onTimeout throws', async () => {
    const onTimeout = () => {
      throw new RangeError('no error could be made')
    }
    await expect(waitFor(never, { timeoutMs: 5, onTimeout })).rejects.toThrow(RangeError)
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

/** As at a breakpoint, or in a long computation: nothing is read, and timers become late. */
function standStill(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

/** Another process: it answers each byte with a line of that many hundred thousand characters. */
async function openPeer() {
  const program = `process.stdin.on('data', (data) => {
    for (const n of String(data)) process.stdout.write('x'.repeat(n * 100_000) + '\\n')
  })`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill())
  const lines = createInterface({ input: child.stdout }).setMaxListeners(50)
  const ask = async (n: number) => {
    const answer = once(lines, 'line') as Promise<string[]>
    child.stdin.write(String(n))
    return (await answer)[0]?.length
  }
  expect(await ask(0)).toBe(0)
  return ask
}

describe('an event loop that stood still', () => {
  test.for([0, 1, 9])('loses no answer that has come, of %i00,000 characters', async (n) => {
    const ask = await openPeer()
    const wait = waitFor(ask(n), { timeoutMs: 100 })
    standStill(600)
    expect(await wait).toBe(n * 100_000)
  })

  test('loses none of many', async () => {
    const ask = await openPeer()
    const waits = Array.from({ length: 20 }, async () => {
      await waitFor(new Promise(setImmediate))
      return waitFor(ask(0), { timeoutMs: 100 })
    })
    await new Promise(setImmediate)
    standStill(600)
    expect((await Promise.all(waits)).length).toBe(20)
  })

  test('loses no end of a process, and no file that was being read', async () => {
    const child = spawn('sleep', ['0.2'])
    const waits = [once(child, 'exit'), readFile('/proc/self/status')].map((one) =>
      waitFor<unknown>(one, { timeoutMs: 50 }),
    )
    standStill(600)
    await Promise.all(waits)
  })

  test('lets a probe look once more', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'wait-'))
    onTestFinished(() => rm(dir, { recursive: true }))
    const look = () =>
      access(`${dir}/there`).then(
        () => true,
        () => undefined,
      )
    const wait = poll(look, { everyMs: 20, timeoutMs: 200 })
    await waitFor(never, { timeoutMs: 50 }).catch(() => {})
    writeFileSync(`${dir}/there`, '')
    standStill(600)
    expect(await wait).toBe(true)
  })

  test('makes no wait for nothing longer than by as much again', async () => {
    const startedAt = performance.now()
    const wait = waitFor(never, { timeoutMs: 50 })
    standStill(300)
    await expect(wait).rejects.toThrow('timed out: 50 ms')
    expect(performance.now() - startedAt).toBeLessThan(2000)
  })
})

describe('time that a test has made up', () => {
  afterEach(() => {
    vi.useRealTimers()
    vi.restoreAllMocks()
  })

  test.for([
    ['as by default', {}],
    [
      'all of it',
      {
        toFake: [
          'setTimeout',
          'clearTimeout',
          'setImmediate',
          'Date',
          'performance',
          'queueMicrotask',
          'hrtime',
        ],
      },
    ],
  ] as const)('stops no deadline, no clock and no poll, %s', async ([, options]) => {
    const realNow = performance.now.bind(performance)
    vi.useFakeTimers({
      ...options,
      toFake: 'toFake' in options ? [...options.toFake] : undefined,
      now: 0,
    })
    const startedAt = realNow()
    let elapsed = 0
    const onTimeout = (elapsedMs: number) => {
      elapsed = elapsedMs
      return new Error('late')
    }
    await expect(waitFor(never, { timeoutMs: 50, onTimeout })).rejects.toThrow('late')
    expect(realNow() - startedAt).toBeGreaterThan(40)
    expect(elapsed).toBeGreaterThanOrEqual(50)
    let asked = 0
    expect(await poll(() => (++asked < 3 ? undefined : asked))).toBe(3)
    await turn()
    expect(wallClock.now()).toBeGreaterThan(Date.UTC(2020))
  })

  test('is not asked for where a test has replaced single functions of it', async () => {
    vi.spyOn(Date, 'now').mockReturnValue(0)
    vi.spyOn(performance, 'now').mockReturnValue(0)
    expect(wallClock.now()).toBeGreaterThan(0)
    const onTimeout = (elapsedMs: number) => new Error(`${elapsedMs >= 20}`)
    await expect(waitFor(never, { timeoutMs: 20, onTimeout })).rejects.toThrow('true')
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
