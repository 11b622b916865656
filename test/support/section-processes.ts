import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect } from 'vitest'
import { localHost } from '../../src/host/local.ts'
import { poll } from '../../src/wait.ts'
import { useLockDir } from './lock-dir.ts'
import { startProcess, type TestProcess } from './process.ts'

/** Gives each test of the file lock files of its own, and processes that end with it. */
export function useSectionProcesses() {
  const locks = useLockDir()
  const started: TestProcess[] = []
  afterEach(async () => {
    await Promise.all(started.splice(0).map((process) => process.kill()))
  })

  function start(script: string, ...args: (string | number)[]): TestProcess {
    const process = startProcess(script, args, { lockDir: locks.path })
    started.push(process)
    return process
  }

  /** A process that is inside. `how`: see hold-section.ts. */
  async function holder(name: string, ...how: string[]): Promise<TestProcess & { child: number }> {
    const process = start('hold-section.ts', name, ...how)
    const [, pid] = (await process.line()).split(' ')
    return { ...process, child: Number(pid) }
  }

  /**
   * How many flock(1) of this test wait: at the section itself, which only the first of a line does,
   * or in the line behind it.
   */
  async function flocksWaiting(where: 'first' | 'behind' | 'all' = 'all'): Promise<number> {
    const { stdout } = await localHost().run('sh', [
      '-c',
      `find /proc/[0-9]*/fd/3 -maxdepth 0 -lname '${locks.path}/section-*' 2>/dev/null | while read -r fd; do
        case "$(tr '\\0' ' ' <"\${fd%/fd/3}/cmdline")" in
          'flock --nonblock '*) ;; # does not wait
          'flock --no-fork '*) echo behind;;
          'flock '*) echo first;;
        esac
      done 2>/dev/null`,
    ])
    const lines = stdout.split('\n').filter(Boolean)
    return lines.filter((line) => where === 'all' || line === where).length
  }

  async function untilWaiting(count: number, where?: 'first' | 'behind'): Promise<void> {
    const asked = async () => ((await flocksWaiting(where)) === count ? true : undefined)
    await poll(asked, { timeoutMs: 20_000 })
  }

  /** A folder for count-in-section.ts, and processes that run it. */
  async function counting() {
    const folder = await mkdtemp(join(locks.path, '..', 'count-'))
    await writeFile(join(folder, 'counter'), '0')
    await writeFile(join(folder, 'log'), '')
    const read = (file: string) => readFile(join(folder, file), 'utf8')
    return {
      counter: async () => Number(await read('counter')),
      log: () => read('log'),
      /** All of them ready before the first begins. */
      begin: async (count: number, times: number | 'until told', ...how: string[]) => {
        const script = () => start('count-in-section.ts', 'c', folder, times, ...how)
        const processes = Array.from({ length: count }, script)
        for (const process of processes) expect(await process.line()).toBe('ready')
        return processes
      },
    }
  }

  return { start, holder, flocksWaiting, untilWaiting, counting }
}

export function tell(processes: readonly TestProcess[]): void {
  for (const process of processes) process.say('now')
}

export interface Result {
  /** Milliseconds from asking to entry, one for each entry. */
  waits: number[]
  /** Entries of others in that time. */
  passed: number[]
  mostReaders: number
}

/** What each prints at the end; one that saw an overlap ends without. */
export function results(processes: readonly TestProcess[]): Promise<Result[]> {
  return Promise.all(processes.map(async (process) => JSON.parse(await process.line())))
}
