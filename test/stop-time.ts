import { onTestFinished, vi } from 'vitest'

/**
 * Time passes only as the test says, until it is over or uses real timers: so a wait is over at a point
 * which the test knows, however slow the machine is.
 */
export function stopTime(): void {
  onTestFinished(() => void vi.useRealTimers())
  const timers = ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] as const
  vi.useFakeTimers({ toFake: [...timers, 'performance'] })
}
