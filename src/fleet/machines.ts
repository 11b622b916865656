import { UsageError } from '../errors.ts'
import type { GrantedLease } from '../lease/admission/grant.ts'
import { letGoOfOwner, takeOwner } from '../lease/ledger/owner.ts'
import { defer } from '../scope.ts'
import type { VmSite } from '../vm/instance/host-services.ts'
import { type ResolvedSpec, resolveSpec, type VmSpec } from '../vm/spec/spec.ts'
import { startVm } from '../vm/start.ts'
import type { Vm } from '../vm/vm.ts'
import { defaultConcurrency } from './concurrency.ts'
import type { ProgressListener } from './progress.ts'
import { startAll } from './start-all.ts'

interface MachinesOptions {
  dut: string
  site: VmSite
  bootTimeoutMs: number
  concurrency?: number
  onProgress?: ProgressListener
}

/** VMs that are to be: their specs are checked, their numbers and names are theirs. */
export interface Plan {
  readonly specs: readonly ResolvedSpec[]
  readonly numbers: readonly number[]
}

/** The VMs of one suite on one DUT. */
export class Machines {
  readonly #options: MachinesOptions
  /** Each VM's number here, which its default name and its Ethernet addresses are made from. */
  readonly #running = new Map<Vm, number>()
  /** The ends of VMs that are gone or going. */
  readonly #ending = new Map<Vm, Promise<void>>()
  readonly #plans = new Set<Plan>()
  /** Whether this process stays the ledger's known owner between one start and the next. */
  #isKnown = false

  constructor(options: MachinesOptions) {
    this.#options = options
  }

  get running(): Vm[] {
    return [...this.#running.keys()]
  }

  /**
   * Checks specs and keeps numbers and names for them, until they are started or dropped.
   *
   * @throws UsageError naming the option and what to write instead
   */
  plan(specs: readonly VmSpec[]): Plan {
    const numbers = this.#freeNumbers(specs.length)
    const resolved = specs.map((spec, i) => resolveSpec(spec, numbers[i] as number))
    this.#checkNames(resolved.map(({ name }) => name))
    const plan = { specs: resolved, numbers }
    this.#plans.add(plan)
    return plan
  }

  drop(plan: Plan): void {
    this.#plans.delete(plan)
  }

  /**
   * Starts what was planned in parallel, all or none. The leases, one for each, are released with
   * their VMs, or at once where the start fails.
   */
  async start(
    plan: Plan,
    leases: readonly GrantedLease[],
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<Vm[]> {
    const { site, bootTimeoutMs, concurrency, ...rest } = this.#options
    try {
      // With the leases, and so while nobody sweeps; without any, nobody needs to be known.
      if (!this.#isKnown && leases.length > 0) {
        this.#isKnown = true
        await takeOwner(site.home.host)
      }
      await this.#ended(plan)
      const vms = await startAll(plan.specs, {
        ...{ ...rest, signal },
        concurrency: concurrency ?? (await defaultConcurrency(site.home.host, plan.specs)),
        start: (spec, i, callbacks) =>
          startVm(site, spec, {
            ...{ index: plan.numbers[i] as number, lease: leases[i] as GrantedLease },
            ...{ bootTimeoutMs, ...callbacks },
          }),
      })
      for (const [i, vm] of vms.entries()) this.#adopt(vm, plan.numbers[i] as number)
      return vms
    } catch (error) {
      await Promise.allSettled(leases.map((lease) => lease.release()))
      throw error
    } finally {
      this.drop(plan)
    }
  }

  /** Stops a VM; resolves when nothing is left of it. */
  stop(vm: Vm): Promise<void> {
    // One that failed stays, for stopAll to tell.
    const ending = this.#ending.get(vm) ?? vm.stop().then(() => void this.#ending.delete(vm))
    this.#ending.set(vm, ending)
    this.#running.delete(vm)
    return ending
  }

  /** Stops all, and waits for those that are just ending. */
  async stopAll(): Promise<void> {
    for (const vm of this.running) void this.stop(vm).catch(() => {})
    const ended = await Promise.allSettled(this.#ending.values())
    if (this.#isKnown) {
      this.#isKnown = false
      await letGoOfOwner(this.#options.site.home.host)
    }
    const failed = ended.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }

  #adopt(vm: Vm, number: number): void {
    this.#running.set(vm, number)
    // A QEMU whose guest is gone, or which is gone itself, has nothing to stay for.
    const gone = () => void this.stop(vm).catch(() => {})
    vm.gone.addEventListener('abort', gone, { once: true })
    if (vm.gone.aborted) gone()
    defer(() => this.stop(vm))
  }

  /** A VM's folder is named like it: one of the same name must be gone whole before the next comes. */
  async #ended({ specs }: Plan): Promise<void> {
    const names = new Set(specs.map(({ name }) => name))
    const before = [...this.#ending].filter(([vm]) => names.has(vm.name))
    await Promise.allSettled(before.map(([, ending]) => ending))
  }

  /** The lowest numbers that no VM here has. */
  #freeNumbers(count: number): number[] {
    const taken = new Set([
      ...this.#running.values(),
      ...[...this.#plans].flatMap(({ numbers }) => numbers),
    ])
    const numbers: number[] = []
    for (let n = 0; numbers.length < count; n++) if (!taken.has(n)) numbers.push(n)
    return numbers
  }

  #checkNames(names: readonly string[]): void {
    const planned = [...this.#plans].flatMap(({ specs }) => specs)
    const taken = new Set([...this.running, ...planned].map(({ name }) => name))
    for (const name of names) {
      if (taken.has(name)) {
        throw new UsageError(`two VMs on ${this.#options.dut} are named ${JSON.stringify(name)}`, {
          hint: 'names are unique on a DUT; leave them out to get vm0, vm1, …',
        })
      }
      taken.add(name)
    }
  }
}
