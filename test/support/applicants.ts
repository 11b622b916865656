import { readdir } from 'node:fs/promises'
import { afterEach, beforeEach, expect } from 'vitest'
import type { Host } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import type { AdmitOptions } from '../../src/lease/admission/admit.ts'
import { giveBack } from '../../src/lease/admission/give-back.ts'
import { type Ledger, readLedger } from '../../src/lease/ledger/records.ts'
import type { Holding, Need } from '../../src/lease/resources/needs.ts'
import { poll } from '../../src/wait.ts'
import { useLockDir } from './lock-dir.ts'
import { startProcess, type TestProcess } from './process.ts'

const M = 2 ** 20

export const name = (...names: string[]): Need => ({ dut: 'dut0', names })
export const memory = (megabytes: number): Need => ({ dut: 'dut0', memory: megabytes * M })
export const pages = (count: number, vm = 'vm0'): Need => ({
  ...{ dut: 'dut0', vm },
  pages: { size: '2M', bytes: count * 2 * M, node: 0 },
})

/** Before the words of a program that is to run as somebody who is not root. */
export const AS_NOBODY = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--']

type Options = Omit<AdmitOptions, 'signal' | 'onWait'> & { prefix?: readonly string[] }

interface Answer {
  waits?: string
  has?: (Holding & { pin?: readonly number[] })[]
  files?: string[]
  failed?: string
  hint?: string
  over?: true
}

/** Another process that asks this machine for something; see apply.ts. */
export interface Applicant {
  process: TestProcess
  /** What it says next about what it waits for; with `words`, once it waits no more for what it did `before`. */
  waits(words?: string, before?: string): Promise<string>
  /** What it was promised, once it is. */
  has(): Promise<NonNullable<Answer['has']>>
  /** The files of its leases. */
  files(): Promise<string[]>
  failed(): Promise<{ failed: string; hint?: string }>
  giveBack(): Promise<void>
  kill(): Promise<void>
}

/** Gives each test of the file a ledger of its own, and processes that end with it. */
export function useApplicants() {
  const locks = useLockDir()
  const started: TestProcess[] = []
  const here: { host: Host } = { host: localHost() }
  beforeEach(() => {
    here.host = localHost() // where its lock folder is, it knows from the first use on
  })
  afterEach(async () => {
    await Promise.all(started.splice(0).map((process) => process.kill()))
    // A test that failed may have left somebody whom pages were added for.
    const ledger = await readLedger(here.host)
    for (const lease of ledger.leases) await giveBack(here.host, lease, ledger)
  })

  function apply(needs: readonly Need[], { prefix, ...options }: Options = {}): Applicant {
    const args = [JSON.stringify({ needs, options })]
    const process = startProcess('apply.ts', args, { lockDir: locks.path, prefix })
    started.push(process)
    /** The next line that has it, and nothing but waits before. */
    const next = async <K extends keyof Answer>(key: K) => {
      for (;;) {
        const answer: Answer = JSON.parse(await process.line())
        if (key in answer) return answer as Answer & Required<Pick<Answer, K>>
        if (!('waits' in answer)) throw new Error(`not ${key}: ${JSON.stringify(answer)}`)
      }
    }
    let granted: ReturnType<typeof next<'has'>> | undefined
    const grant = () => {
      granted ??= next('has')
      return granted
    }
    return {
      process,
      waits: async (words = '', before = words) => {
        for (;;) {
          const { waits } = await next('waits')
          if (waits.includes(words)) return waits
          expect(waits).toContain(before)
        }
      },
      has: async () => (await grant()).has,
      files: async () => (await grant()).files ?? [],
      failed: () => next('failed'),
      giveBack: async () => {
        process.say('now')
        await next('over')
      },
      kill: () => process.kill(),
    }
  }

  /** Resolves when so many stand in the queue. */
  function untilQueued(count: number): Promise<Ledger> {
    const queued = async () => {
      const ledger = await readLedger(here.host)
      return ledger.wishes.length === count ? ledger : undefined
    }
    return poll(queued, { timeoutMs: 30_000 })
  }

  /** What is in the lock folder but the locks of sections, which stay. */
  async function files(): Promise<string[]> {
    return (await readdir(locks.path)).filter((file) => !/^(section|line)-/.test(file)).sort()
  }

  return { locks, here, apply, untilQueued, files }
}
