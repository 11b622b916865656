import { poll } from '../../src/wait.ts'
import { namesIn, textOf } from './procfs.ts'

/**
 * Tells whether anything of a process runs. The zombie of one with threads comes with the end of the
 * first of them; the others may still have its memory, its files and their locks.
 */
export function isRunning(pid: number): boolean {
  const stat = textOf(`/proc/${pid}/stat`)
  if (stat === '') return false
  return !/^\d+ \(.*\) [ZX]/s.test(stat) || namesIn(`/proc/${pid}/task`).length > 1
}

/** Resolves when the process is gone; fails the test that waits for it otherwise. */
export async function untilGone(pid: number, timeoutMs = 5000): Promise<void> {
  await poll(() => !isRunning(pid) || undefined, {
    timeoutMs,
    onTimeout: () => new Error(`process ${pid} is still there after ${timeoutMs} ms`),
  })
}

export interface Seen {
  pid: number
  parent: number
  /** Its command line. */
  command: string
}

/** The processes that have a text in their command line, or in the environment they were started with. */
export function processesWith(text: string): Seen[] {
  return namesIn('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      const command = textOf(`/proc/${name}/cmdline`)
      if (![command, textOf(`/proc/${name}/environ`)].some((all) => all.includes(text))) return []
      const parent = /^PPid:\t(\d+)$/m.exec(textOf(`/proc/${name}/status`))?.[1]
      if (parent === undefined) return [] // it has ended meanwhile
      return [{ pid: Number(name), parent: Number(parent), command: command.replaceAll('\0', ' ') }]
    })
}

/** A process and all that descend from it. */
export function familyOf(pid: number, all: readonly Seen[]): Seen[] {
  const children = all.filter(({ parent }) => parent === pid)
  return [
    ...all.filter((one) => one.pid === pid),
    ...children.flatMap((child) => familyOf(child.pid, all)),
  ]
}

/**
 * Without those that one of them has forked and that are no program of their own yet: they have its
 * command line until then.
 */
export function withoutForks(all: readonly Seen[]): Seen[] {
  return all.filter(({ parent }) => !all.some(({ pid }) => pid === parent))
}
