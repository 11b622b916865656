import { readFile } from 'node:fs/promises'
import { poll } from '../../src/wait.ts'

/** Whether a process is there and runs; a zombie does not. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat !== '' && !/^\d+ \(.*\) [ZX]/s.test(stat)
}

/** Resolves when the process is gone; fails the test that waits for it otherwise. */
export async function untilGone(pid: number, timeoutMs = 5000): Promise<void> {
  await poll(async () => ((await isAlive(pid)) ? undefined : true), {
    timeoutMs,
    onTimeout: () => new Error(`process ${pid} is still there after ${timeoutMs} ms`),
  })
}
