import type { Vitest } from 'vitest/node'

const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

/**
 * Makes `vitest run` end in order on a signal: cancel, tear down, close. Vitest's own handlers end the
 * process a millisecond later and skip all teardown; there is no public way to ask for anything else,
 * so they are taken out. A second signal gives up waiting.
 */
export function handleSignals(vitest: Vitest): void {
  for (const [name, status] of Object.entries(SIGNALS)) {
    const signal = name as keyof typeof SIGNALS
    process.removeAllListeners(signal)
    let already = false
    process.on(signal, async () => {
      if (already) process.exit(status)
      already = true
      process.exitCode = status
      await vitest.cancelCurrentRun('keyboard-input').catch(() => {})
      await vitest.close().catch(() => {})
      process.exit(status)
    })
  }
}
