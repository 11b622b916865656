import type { Host } from '../../host/host.ts'
import { readText } from '../../host/read-text.ts'
import type { Qmp } from '../../qemu/qmp.ts'
import { performance } from '../../time.ts'

/** The virtual CPUs' time on the host's, by their threads. */
export interface VcpuTimes {
  /** `performance.now()`. */
  at: number
  threads: ReadonlyMap<number, ThreadTimes>
}

interface ThreadTimes {
  ranMs: number
  /** Milliseconds in which it ran or waited for its turn, but for the wait that it is in now. */
  wantedMs: number
  /** True if it runs or waits for its turn now. */
  isRunnable: boolean
}

interface Cpus {
  qmp: Qmp
  qemu: { pid: number }
  engine: { host: Host }
}

export async function vcpuTimes({ qmp, qemu, engine }: Cpus): Promise<VcpuTimes> {
  const vcpus = await qmp.execute('query-cpus-fast')
  const threads = [...new Set(vcpus.map((vcpu) => vcpu['thread-id']))]
  const at = performance.now()
  const times = await Promise.all(
    threads.map(async (thread) => {
      const folder = `/proc/${qemu.pid}/task/${thread}`
      const [schedstat, stat] = await Promise.all(
        ['schedstat', 'stat'].map((file) => readText(engine.host, `${folder}/${file}`)),
      )
      const [ran = 0, waited = 0] = (schedstat ?? '').split(' ').map(Number)
      const isRunnable = /^.*\) R /s.test(stat ?? '')
      return [thread, { ranMs: ran / 1e6, wantedMs: (ran + waited) / 1e6, isRunnable }] as const
    }),
  )
  return { at, threads: new Map(times) }
}

/**
 * The busiest virtual CPU between two looks: how long it ran, and the part of the time in which it wanted
 * to. One that waits for its turn wants all of it: the kernel counts a wait only when it is over, and on a
 * busy machine that can be longer than from one look to the next.
 */
export function busiest(before: VcpuTimes, now: VcpuTimes): { ranMs: number; part: number } {
  let most = { ranMs: 0, part: 0 }
  for (const [thread, { ranMs, wantedMs, isRunnable }] of now.threads) {
    const old = before.threads.get(thread)
    if (old === undefined) continue
    const part = isRunnable ? 1 : (wantedMs - old.wantedMs) / (now.at - before.at)
    if (part > most.part) most = { ranMs: ranMs - old.ranMs, part }
  }
  return most
}

/** Tells whether a virtual CPU runs a program, not the kernel: CPL 3 of x86, exception level 0 of ARM. */
export async function isInUserMode({ qmp }: Pick<Cpus, 'qmp'>): Promise<boolean> {
  const registers = await qmp.execute('human-monitor-command', {
    'command-line': 'info registers -a',
  })
  return /\bCPL=3\b|\bEL0t\b/.test(registers)
}
