import pLimit from 'p-limit'
import { asError, UsageError } from '../errors.ts'
import type { Dut } from '../fleet/dut.ts'
import { checkInteger, checkKeys } from '../options.ts'
import { performance } from '../time.ts'
import { detect } from '../vm/network/topology.ts'
import type { Vm } from '../vm/vm.ts'
import { type Outcome, runTask } from './run-task.ts'
import { type Action, type Configs, readTask, type Task } from './tasks.ts'

export interface MultipleVmOptions {
  /** Tasks under way at a time; all of a round where none is given. */
  maxVm?: number
  max_vm?: number
  /** In the order that `dut_id` counts. */
  duts: readonly Dut[]
}

/** What became of a VM's task. */
export interface TaskResult extends Outcome {
  name: string
  dut_id: number
  action: Action
  /** 0, or 7 where it failed. */
  status: 0 | 7
  /** Where it failed. */
  error?: Error
  durationMs: number
}

/** DTS's PARALLEL_EXECUTE_ERR. */
const FAILED = 7

/**
 * The module *Multiple Virtual Machines* of the classic DPDK Test Suite: tasks for VMs are collected and
 * done in parallel, a round at a time. The VMs are the DUTs' own, like those of `dut.start`.
 */
export class MultipleVM implements AsyncDisposable {
  readonly #duts: readonly Dut[]
  readonly #limit: ReturnType<typeof pLimit>
  readonly #started = new Map<Vm, Dut>()
  #tasks: Task[] = []
  #results: Record<string, TaskResult>[] = []
  #isBusy = false

  /** @throws UsageError for a bad option */
  constructor(options: MultipleVmOptions) {
    checkKeys('MultipleVM', options, ['maxVm', 'max_vm', 'duts'])
    const { duts, maxVm = options.max_vm ?? Number.POSITIVE_INFINITY } = options
    if (!Array.isArray(duts) || duts.length === 0) {
      throw new UsageError('MultipleVM: duts is not a list of DUTs', {
        hint: 'the fixture duts: test(…, async ({ duts }) => new MultipleVM({ maxVm: 2, duts }))',
      })
    }
    if (maxVm !== Number.POSITIVE_INFINITY) checkInteger('MultipleVM: maxVm', maxVm, 1, 10_000)
    this.#duts = duts
    this.#limit = pLimit(maxVm)
  }

  /**
   * Adds a task to the next round, one for each VM.
   *
   * @throws UsageError for an unknown action, or arguments that cannot be
   */
  addParallelTask<A extends Action>(action: A, config: Configs[A]): void
  addParallelTask<A extends Action>(task: { action: A; config: Configs[A] }): void
  addParallelTask(action: Action | { action: Action; config: object }, config?: object): void {
    const given = typeof action === 'object' ? action : { action, config: config ?? {} }
    const task = readTask(given.action, given.config, this.#duts)
    const { name, dutId } = task
    if (this.#tasks.some((other) => other.name === name && other.dutId === dutId)) {
      throw new UsageError(`MultipleVM: ${name} on DUT ${dutId} has a task in this round`, {
        hint: 'doParallelTask() first; the next one belongs to the next round',
      })
    }
    this.#tasks.push(task)
  }

  /** Does the tasks that were added, and resolves with their results; a task that fails does not reject. */
  async doParallelTask(): Promise<Record<string, TaskResult>[]> {
    if (this.#isBusy) {
      throw new UsageError('MultipleVM: a round is under way', { hint: 'await doParallelTask()' })
    }
    this.#isBusy = true
    const tasks = this.#tasks
    this.#tasks = []
    try {
      const results = await Promise.all(tasks.map((task) => this.#limit(() => this.#do(task))))
      await this.#detect(results.filter((_, i) => tasks[i]?.args.autodetect_topo === true))
      this.#results = this.#duts.map((_, i) =>
        Object.fromEntries(
          results.filter(({ dut_id }) => dut_id === i).map((result) => [result.name, result]),
        ),
      )
    } finally {
      this.#isBusy = false
    }
    return this.#results
  }

  /** The results of the last round: for each DUT, those of its VMs by their names. */
  getParallelResult(): Record<string, TaskResult>[] {
    return this.#results
  }

  /** Stops the VMs that it has started. */
  async dispose(): Promise<void> {
    const ended = await Promise.allSettled([...this.#started].map(([vm, dut]) => dut.stop(vm)))
    this.#started.clear()
    const failed = ended.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }

  /** Once all VMs of the round are there: one probe for all of them. */
  async #detect(results: TaskResult[]): Promise<void> {
    const wanted = results.filter(({ status }) => status === 0)
    const vms = wanted.flatMap(({ vm }) => vm ?? [])
    const others = this.#duts.flatMap((dut) => dut.vms).filter((vm) => !vms.includes(vm))
    try {
      const ports = await detect(vms, others)
      for (const [i, result] of wanted.entries()) result.ports = ports[i] ?? []
    } catch (error) {
      for (const result of wanted) Object.assign(result, { status: FAILED, error: asError(error) })
    }
  }

  async #do(task: Task): Promise<TaskResult> {
    const { action, name, dutId } = task
    const dut = this.#duts[dutId] as Dut
    const outcome: Outcome = {}
    const startedAt = performance.now()
    const result = (status: 0 | 7, error?: Error): TaskResult => ({
      ...{ name, dut_id: dutId, action, status, ...(error && { error }), ...outcome },
      durationMs: performance.now() - startedAt,
    })
    try {
      await runTask(task, dut, outcome)
      return result(0)
    } catch (error) {
      return result(FAILED, asError(error))
    } finally {
      const { vm, attached } = outcome
      if (vm && action === 'start' && !attached) this.#started.set(vm, dut)
      if (vm?.state === 'stopped') this.#started.delete(vm)
    }
  }
}
