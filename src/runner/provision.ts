import { type RunnerTestFile as File, TestRunner } from 'vitest'
import type { Fleet } from '../fleet/fleet.ts'
import type { Reset } from '../fleet/reset.ts'

/** A file's fleet and reset of one call of `dutTest`. */
export interface Provided<B> {
  fleet: Fleet<B>
  reset: Reset | undefined
}

/** One file's part of it: started once, whoever asks, and released with the file. */
export interface Provisioning<B> {
  start(): Promise<Provided<B>>
  release(): Promise<void>
}

/**
 * One call of `dutTest`: in each file that uses it one fleet, whatever the test API is extended with.
 * (Vitest makes a fixture of scope `file` anew for each API that was extended.)
 */
export class Provision<B> {
  readonly #make: (file: string) => Provisioning<B>
  #now: Provisioning<B> | undefined

  constructor(make: (file: string) => Provisioning<B>) {
    this.#make = make
  }

  /** Has the fleet started before the first hook of the file that is being collected. */
  use(): void {
    const { file } = TestRunner.getCurrentSuite()
    const provisions = used.get(file) ?? new Set()
    used.set(file, provisions.add(this))
  }

  get(file: string): Promise<Provided<B>> {
    this.#now ??= this.#make(file)
    running.add(this)
    return this.#now.start()
  }

  async release(): Promise<void> {
    await this.#now?.release()
    this.#now = undefined
  }
}

const used = new WeakMap<File, Set<Provision<unknown>>>()
const running = new Set<Provision<unknown>>()

/** Runs a file's hooks and tests while its fleets are there. */
export async function withFleets(file: File, runFile: () => Promise<void>): Promise<void> {
  const errors: unknown[] = []
  const note = (error: unknown) => void errors.push(error)
  const run = async () => {
    for (const provision of used.get(file) ?? []) await provision.get(file.filepath)
    await runFile()
  }
  await run().catch(note)
  await Promise.all([...running].map((provision) => provision.release().catch(note)))
  running.clear()
  if (errors.length > 0) throw errors[0]
}
