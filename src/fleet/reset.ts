import { UsageError } from '../errors.ts'
import { outsideScope } from '../scope.ts'
import type { Snapshot } from '../vm/lifecycle/snapshot.ts'
import type { Vm } from '../vm/vm.ts'

/**
 * Has each test of a suite begin with its VMs as they were before the first: the first one finds them
 * as they are, and for each further one they are taken back.
 */
export class Reset {
  readonly #vms: readonly Vm[]
  #snapshots: Promise<Snapshot[]> | undefined
  #isTaken = false

  constructor(vms: readonly Vm[]) {
    this.#vms = vms
  }

  /**
   * Runs a test's body once the VMs are as they should be.
   *
   * @throws UsageError while another test has the VMs
   */
  async before<T>(body: () => Promise<T>): Promise<T> {
    if (this.#isTaken) {
      throw new UsageError(`reset: 'each' gives the VMs to one test at a time`, {
        hint: 'leave out test.concurrent, or leave out reset',
      })
    }
    this.#isTaken = true
    try {
      await outsideScope(() => this.#reset())
      return await body()
    } finally {
      this.#isTaken = false
    }
  }

  async #reset(): Promise<void> {
    if (this.#snapshots === undefined) {
      this.#snapshots = Promise.all(this.#vms.map((vm) => vm.snapshot()))
      await this.#snapshots
      return
    }
    const snapshots = await this.#snapshots
    await Promise.all(this.#vms.map((vm, i) => vm.restore(snapshots[i] as Snapshot)))
  }
}
