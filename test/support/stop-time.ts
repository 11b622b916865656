import { onTestFinished, vi } from 'vitest'
import * as time from '../../src/time.ts'

/**
 * Time passes only as the test says, until it is over or uses real timers: so a wait is over at a point
 * which the test knows, however slow the machine is. The product has timers of its own, which no made-up
 * time of a test reaches; here they are those that the test has made up.
 */
export function stopTime(): void {
  const timers = ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] as const
  vi.useFakeTimers({ toFake: [...timers, 'performance'] })
  const spies = [
    vi
      .spyOn(time, 'setTimeout')
      .mockImplementation(((...args: Parameters<typeof setTimeout>) =>
        globalThis.setTimeout(...args)) as typeof setTimeout),
    vi.spyOn(time, 'clearTimeout').mockImplementation((timer) => globalThis.clearTimeout(timer)),
    vi.spyOn(time.performance, 'now').mockImplementation(() => globalThis.performance.now()),
  ]
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore()
    vi.useRealTimers()
  })
}
