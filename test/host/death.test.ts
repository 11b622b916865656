import { expect, test } from 'vitest'
import { startProcess } from '../support/process.ts'
import { isRunning, untilGone } from '../support/processes.ts'

test.each(['SIGKILL', 'SIGTERM'] as const)(
  'what a process started, on a terminal or not, is gone when %s ends it',
  async (signal) => {
    const holder = startProcess('hold-programs.ts', [], { lockDir: '/nonexistent' })
    const pids = (await holder.line()).split(' ').map(Number)
    expect(pids).toHaveLength(6)
    for (const pid of pids) expect(isRunning(pid)).toBe(true)
    await holder.kill(signal)
    for (const pid of pids) await untilGone(pid)
  },
)
