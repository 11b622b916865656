import { atCallSite } from '../call-site.ts'
import { Program, type SpawnOptions } from '../console/program.ts'
import { asError, InfrastructureError } from '../errors.ts'
import type { ExecOptions } from '../guest-protocol/exec.ts'
import type { ExecResult } from '../guest-protocol/exec-result.ts'
import type { Host } from '../host/host.ts'
import { admit } from '../lease/admission/admit.ts'
import type { GrantedLease } from '../lease/admission/grant.ts'
import type { Owner } from '../lease/locks/holder.ts'
import { type SectionOptions, section } from '../lease/locks/section.ts'
import type { PortRange } from '../lease/resources/ports.ts'
import { defer, stopSignal } from '../scope.ts'
import type { VmHome, VmSite } from '../vm/instance/host-services.ts'
import { needOf } from '../vm/spec/resources.ts'
import type { VmSpec } from '../vm/spec/spec.ts'
import type { Vm } from '../vm/vm.ts'
import { type Applying, admitPlans } from './admit-plans.ts'
import { type DutFacts, dutFacts } from './facts.ts'
import { hostExec, hostTerminal } from './host-exec.ts'
import { type LeaseKind, type LeaseWish, wishToNeed } from './lease-wish.ts'
import { checkLeftovers, suiteEnv } from './leftovers.ts'
import { Links } from './links.ts'
import { Machines, type Plan } from './machines.ts'
import type { ProgressListener } from './progress.ts'
import { siteOf } from './site.ts'
import { dropForMemory } from './template-store.ts'

export interface DutOptions {
  name: string
  host: Host
  /** The suite's folder on the DUT. */
  dir: string
  /** Where guests and verdicts that outlive a run are kept; a per-user folder by default. */
  cacheDir?: string
  bootTimeoutMs: number
  /** How many VMs boot at once; made from cores and memory where none is given. */
  concurrency?: number
  /** On whose behalf: others who wait for what this suite has are told. */
  owner?: Owner
  /** Where host ports are chosen from. */
  ports?: PortRange
  /** What may be promised of the host, and how long it is waited for. */
  admission?: { grow?: boolean; overcommit?: number; timeoutMs?: number }
  onProgress?: ProgressListener
}

/** A device under test: the machine that VMs and backends run on, and what this suite has there. */
export class Dut implements VmHome, AsyncDisposable {
  readonly name: string
  readonly host: Host
  /** A folder of this suite's own on the DUT, gone with the suite: for sockets of backends. */
  readonly dir: string
  readonly #options: DutOptions
  readonly #links: Links
  readonly #site: VmSite
  readonly #machines: Machines
  readonly #programs = new Set<Program>()
  readonly #leases = new Set<GrantedLease>()
  /** While the suite's backend starts: what it spawns, the VMs lean on. */
  #inBackend = false

  constructor(options: DutOptions) {
    const { name, host, dir } = options
    this.name = name
    this.host = host
    this.dir = dir
    this.#options = options
    this.#links = new Links({ host, qemu: 'qemu-system-x86_64', dir, env: suiteEnv(dir) })
    this.#site = siteOf(this, { ...options, links: this.#links, admission: this.#admission })
    this.#machines = new Machines({ ...options, dut: name, site: this.#site })
  }

  /** The VMs that run here for this suite. */
  get vms(): Vm[] {
    return this.#machines.running
  }

  /**
   * One shell command on the DUT, as `Vm.exec` is in a guest.
   *
   * @throws CommandTimeoutError when it has not ended in time; it is killed then
   * @throws InfrastructureError with `check: true`, when its status is not 0
   */
  exec(command: string, options?: ExecOptions): Promise<ExecResult> {
    return atCallSite(this.exec, () => hostExec(this, command, options))
  }

  /**
   * An interactive program on the DUT; it ends with the test that started it, or else with the suite.
   * A string is a shell command, a list a program and its arguments.
   */
  async spawn(command: string | readonly string[], options: SpawnOptions = {}): Promise<Program> {
    stopSignal(options.signal)?.throwIfAborted()
    const line = typeof command === 'string' ? command : command.join(' ')
    const terminal = hostTerminal(this, command, options)
    const where = { dut: this.name, explain: terminal.explain }
    const program = new Program(terminal, line, options, where)
    this.#programs.add(program)
    if (this.#inBackend) this.#leanOn(program)
    try {
      await program.ready(options)
    } catch (error) {
      await program.close()
      throw error
    }
    defer(() => program.close())
    return program
  }

  /** Starts one more VM; it is gone with the test that started it, or else with the suite. */
  async start(spec: VmSpec = {}): Promise<Vm> {
    const [vm] = await this.startAll([spec])
    return vm as Vm
  }

  /** Starts further VMs in parallel: all of them, or none where one fails. */
  startAll(specs: readonly VmSpec[], options: { signal?: AbortSignal } = {}): Promise<Vm[]> {
    return atCallSite(this.startAll, () => this.#startAll(specs, options))
  }

  async #startAll(specs: readonly VmSpec[], options: { signal?: AbortSignal }): Promise<Vm[]> {
    const plan = this.plan(specs)
    try {
      const [leases = []] = await admitPlans([this.applying(plan)], options)
      return await this.startPlan(plan, leases, options)
    } finally {
      this.drop(plan)
    }
  }

  /** Checks specs and keeps names for them, until the plan is started or dropped. */
  plan(specs: readonly VmSpec[]): Plan {
    return this.#machines.plan(specs)
  }

  drop(plan: Plan): void {
    this.#machines.drop(plan)
  }

  /** What has to be promised before a plan can be started. */
  applying({ specs }: Plan): Applying {
    const needs = specs.map((spec) => needOf(spec, this.#where))
    return { host: this.host, needs, options: this.#admission }
  }

  /** Starts a plan with what was promised for it. */
  startPlan(
    plan: Plan,
    leases: readonly GrantedLease[],
    options: { signal?: AbortSignal } = {},
  ): Promise<Vm[]> {
    return this.#machines.start(plan, leases, options)
  }

  /** Stops a VM of this DUT. */
  stop(vm: Vm): Promise<void> {
    return this.#machines.stop(vm)
  }

  /** Runs `fn` while nobody else on this DUT, in any process, is in the section of that name. */
  section<T>(name: string, fn: () => Promise<T>, options: SectionOptions = {}): Promise<T> {
    const { owner } = this.#options
    const { onWait } = this.#admission
    return section(this.host, name, fn, { owner, onWait, ...options })
  }

  /**
   * Keeps something of the DUT from all others, in whatever process, until it is released, or the test
   * that called has ended, or else the suite: `'ports'` (how many), `'cores'` (how many whole ones, or
   * which CPUs), `'name'` (anything that all agree on, such as a traffic generator). Where others have
   * it, waits for them.
   *
   * @throws InfrastructureError when it can never be had, or not in time
   */
  async lease<K extends LeaseKind>(kind: K, wanted: LeaseWish[K]): Promise<GrantedLease> {
    const need = wishToNeed(kind, wanted, this.#where)
    const [lease] = await admit(this.host, [need], this.#admission)
    this.#leases.add(lease as GrantedLease)
    defer(() => (lease as GrantedLease).release())
    return lease as GrantedLease
  }

  /** What this machine has and can do. */
  facts(): Promise<DutFacts> {
    return dutFacts(this.host, this.#options.cacheDir)
  }

  /** Runs the suite's backend; what it spawns and does not close is a death when it ends. */
  async runBackend<T>(backend: () => Promise<T>): Promise<T> {
    await this.host.makeDir(this.dir, 0o700)
    this.#inBackend = true
    try {
      return await backend()
    } finally {
      this.#inBackend = false
    }
  }

  /** Stops the VMs that run here, all at once. */
  stopVms(): Promise<void> {
    return this.#machines.stopAll()
  }

  /**
   * Ends everything this suite has here: VMs, programs, links, leases, and then the folder.
   *
   * @throws InfrastructureError listing what is left all the same
   */
  async close(): Promise<void> {
    const ended = await Promise.allSettled([
      this.stopVms(),
      ...[...this.#programs].map((program) => program.close()),
      ...[...this.#leases].map((lease) => lease.release()),
    ])
    ended.push(...(await Promise.allSettled([this.#links.close(), this.#site.held.close()])))
    await this.host.remove(this.dir).catch(() => {}) // something still writes there: looked for next
    ended.push(...(await Promise.allSettled([checkLeftovers(this)])))
    const failed = ended.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  get #where() {
    const { name, dir, ports } = this.#options
    return { dut: name, dir, ...(ports && { portRange: ports }) }
  }

  get #admission() {
    const { host, owner, admission, onProgress } = this.#options
    const makeRoom = (bytes: number) => dropForMemory(host, this.#site.templates(), bytes)
    const onWait = (line: string) => onProgress?.({ kind: 'note', dut: this.name, line })
    return { ...admission, owner, makeRoom, onWait }
  }

  #leanOn(program: Program): void {
    const dead = (cause: unknown) => {
      if (program.closing) return
      const details = { dut: this.name, command: program.command, cause: asError(cause) }
      for (const vm of this.vms) {
        const message = `the backend that ${vm.name} leans on is gone`
        vm.alarm(new InfrastructureError(message, { ...details, tail: program.console.tail() }))
      }
    }
    program.exited.then((status) => dead(new Error(`it ended with status ${status}`)), dead)
  }
}
