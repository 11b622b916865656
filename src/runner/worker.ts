import { basename, relative } from 'node:path'
import { inject } from 'vitest'
import { AbortController } from '../abort.ts'
import { InfrastructureError, UsageError } from '../errors.ts'
import { Dut } from '../fleet/dut.ts'
import { type Fleet, type FleetOptions, startFleet } from '../fleet/fleet.ts'
import { localHost } from '../host/local.ts'
import { nodePty } from '../host/node-pty.ts'
import { joinChannel } from './channel.ts'
import type { ProvidedRun } from './provided.ts'

export interface SuiteOptions<B> extends FleetOptions<B> {
  duts?: readonly string[]
  bootTimeoutMs?: number
}

let worker: Worker | undefined

/**
 * What a worker process has to do with the run: the suites it provisions, each of which can be told
 * to stop while it starts.
 */
export class Worker {
  readonly #run: ProvidedRun
  readonly #suites = new Set<Suite>()
  /** One for all suites and DUTs: what is known of a host is known of this object. */
  readonly #host = localHost()
  readonly #channel: ReturnType<typeof joinChannel>

  /**
   * The worker of this process.
   *
   * @throws UsageError without the plugin
   */
  static here(): Worker {
    worker ??= new Worker()
    return worker
  }

  private constructor() {
    const run = inject('vitestDut')
    if (run === undefined) {
      throw new UsageError('dutTest: the plugin is not in the Vitest configuration', {
        hint: `add it: import { dut } from 'vitest-dut/plugin'; plugins: [dut()]`,
      })
    }
    nodePty() // no VM runs without it: told before anything starts
    const { refusal } = run
    if (refusal) throw new InfrastructureError(refusal.message, { hint: refusal.hint })
    this.#run = run
    this.#channel = joinChannel(run.channel, ({ reason }) => {
      for (const suite of this.#suites) suite.abort(cancelled(reason))
    })
  }

  /** @param file the spec file, which names the suite in messages */
  suite<B>(
    file: string,
    options: SuiteOptions<B>,
  ): { start(): Promise<Fleet<B>>; release(): Promise<void> } {
    const name = relative(this.#run.root, file)
    const suite = new Suite(async (signal) => {
      const fleet = await startFleet(
        this.#duts(name, options.duts, options.bootTimeoutMs),
        options,
        { signal },
      )
      const vms = fleet.vms.map((vm) => ({ dut: vm.dut.name, vm: vm.name, bootMs: vm.bootMs }))
      if (this.#run.options.summary) this.#channel.tell({ type: 'fleet', suite: name, vms })
      return fleet
    })
    this.#suites.add(suite)
    return {
      start: () => suite.start() as Promise<Fleet<B>>,
      release: async () => {
        await suite.release()
        this.#suites.delete(suite)
      },
    }
  }

  #duts(suite: string, wanted: readonly string[] | undefined, bootTimeoutMs?: number): Dut[] {
    const { folder, options } = this.#run
    const names = wanted ?? options.duts.map(({ name }) => name)
    const id = crypto.randomUUID().slice(0, 8)
    return names.map((name, i) => {
      const config = options.duts.find((config) => config.name === name)
      if (config === undefined) {
        throw new UsageError(`dutTest: there is no DUT named ${JSON.stringify(name)}`, {
          hint: `the configuration has: ${options.duts.map((config) => config.name).join(', ')}`,
        })
      }
      const { ports } = config
      return new Dut({
        name,
        host: this.#host,
        dir: `${folder}/${id}${i}`,
        bootTimeoutMs: bootTimeoutMs ?? options.bootTimeoutMs,
        concurrency: options.concurrency,
        owner: { run: basename(folder), suite },
        ...(ports && { ports }),
        admission: options.admission,
        onProgress: (progress) => this.#channel.tell({ type: 'progress', suite, progress }),
      })
    })
  }
}

/** Nobody's mistake, so it points at no line. */
function cancelled(reason: string): Error {
  const error = new InfrastructureError(
    `the VMs were not started: the run was cancelled (${reason})`,
  )
  error.stack = `${error.name}: ${error.message}`
  return error
}

/** One suite's provisioning: it can be aborted while it starts, and is released once. */
class Suite {
  readonly #stop = new AbortController()
  readonly #provision: (signal: AbortSignal) => Promise<Fleet<unknown>>
  #starting: Promise<Fleet<unknown>> | undefined

  constructor(provision: (signal: AbortSignal) => Promise<Fleet<unknown>>) {
    this.#provision = provision
  }

  start(): Promise<Fleet<unknown>> {
    this.#starting ??= this.#provision(this.#stop.signal)
    return this.#starting
  }

  /** A suite that has started is not touched: its tests hold it. */
  abort(reason: Error): void {
    this.#stop.abort(reason)
  }

  async release(): Promise<void> {
    this.abort(new Error('the suite is over'))
    const fleet = await this.#starting?.catch(() => undefined) // a failed start cleaned up itself
    await fleet?.stop()
  }
}
