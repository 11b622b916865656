import { atCallSite } from '../call-site.ts'
import type { ExecOptions, ExecResult } from '../console/exec.ts'
import { Program, type SpawnOptions } from '../console/program.ts'
import { asError, InfrastructureError, UsageError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import { ensureGuest, type Guest } from '../image/guest.ts'
import { type SectionOptions, section } from '../lease/section.ts'
import { chooseAccel } from '../qemu/accel.ts'
import { defer, outsideScope } from '../scope.ts'
import type { VmHome, VmSite } from '../vm/home.ts'
import { resolveSpec, type VmSpec } from '../vm/spec.ts'
import { startVm } from '../vm/start.ts'
import type { Vm } from '../vm/vm.ts'
import { type DutFacts, dutFacts } from './facts.ts'
import { hostExec, hostTerminal } from './host-exec.ts'
import { Links } from './links.ts'
import type { ProgressListener } from './progress.ts'
import { startAll } from './start-all.ts'

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
  /** Each VM's number here, which its default name and its Ethernet addresses are made from. */
  readonly #vms = new Map<Vm, number>()
  readonly #taken = new Set<number>()
  readonly #programs = new Set<Program>()
  readonly #macByte = Math.floor(Math.random() * 256)
  #guest: Promise<Guest> | undefined
  /** While the suite's backend starts: what it spawns, the VMs lean on. */
  #inBackend = false

  constructor(options: DutOptions) {
    const { name, host, dir } = options
    this.name = name
    this.host = host
    this.dir = dir
    this.#options = options
    this.#links = new Links({ host, qemu: 'qemu-system-x86_64', dir })
  }

  /** The VMs that run here for this suite. */
  get vms(): Vm[] {
    return [...this.#vms.keys()]
  }

  /**
   * One shell command on the DUT, as `Vm.exec` is in a guest.
   *
   * @throws CommandTimeoutError when it has not ended in time; it is killed then
   * @throws InfrastructureError with `check: true`, when its status is not 0
   */
  exec(command: string, options?: ExecOptions): Promise<ExecResult> {
    return atCallSite(this.exec, () => hostExec(this.host, this.name, command, options))
  }

  /**
   * An interactive program on the DUT; it ends with the test that started it, or else with the suite.
   * A string is a shell command, a list a program and its arguments.
   */
  async spawn(command: string | readonly string[], options: SpawnOptions = {}): Promise<Program> {
    const line = typeof command === 'string' ? command : command.join(' ')
    const program = new Program(hostTerminal(this.host, command), line, options, { dut: this.name })
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
    const numbers = this.#takeNumbers(specs.length)
    try {
      const resolved = specs.map((spec, i) => resolveSpec(spec, numbers[i] as number))
      this.#checkNames(resolved.map(({ name }) => name))
      const { bootTimeoutMs, concurrency, onProgress } = this.#options
      const vms = await startAll(resolved, {
        ...{ concurrency, onProgress, signal: options.signal, dut: this.name },
        start: (spec, i, callbacks) =>
          startVm(this.#site, spec, { index: numbers[i] as number, bootTimeoutMs, ...callbacks }),
      })
      for (const [i, vm] of vms.entries()) {
        this.#vms.set(vm, numbers[i] as number)
        vm.gone.addEventListener('abort', () => this.#forget(vm), { once: true })
        defer(() => this.stop(vm))
      }
      return vms
    } catch (error) {
      for (const number of numbers) this.#taken.delete(number)
      throw error
    }
  }

  /** Stops a VM of this DUT. */
  async stop(vm: Vm): Promise<void> {
    await vm.stop()
    this.#forget(vm)
  }

  /** Runs `fn` while nobody else on this DUT, in any process, is in the section of that name. */
  section<T>(name: string, fn: () => Promise<T>, options: SectionOptions = {}): Promise<T> {
    return section(this.host, name, fn, options)
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
  async stopVms(): Promise<void> {
    const stopped = await Promise.allSettled(this.vms.map((vm) => this.stop(vm)))
    throwFirst(stopped)
  }

  /** Ends everything this suite has here: VMs, programs, links, and then the folder. */
  async close(): Promise<void> {
    const closed = await Promise.allSettled([
      this.stopVms(),
      ...[...this.#programs].map((program) => program.close()),
    ])
    await this.#links.close()
    await this.host.remove(this.dir)
    throwFirst(closed)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  get #site(): VmSite {
    const { cacheDir, onProgress } = this.#options
    return {
      home: this,
      dir: this.dir,
      macByte: this.#macByte,
      segment: (link) => outsideScope(() => this.#links.port(link)),
      guest: () => {
        this.#guest ??= outsideScope(() =>
          ensureGuest({
            host: this.host,
            cacheDir,
            onProgress: (line) => onProgress?.({ kind: 'note', dut: this.name, line }),
          }),
        )
        this.#guest.catch(() => {
          this.#guest = undefined
        })
        return this.#guest
      },
      accel: async (qemu, wanted) => {
        const { accel } = await chooseAccel({
          ...{ host: this.host, qemu, wanted, cacheDir },
          onNote: (line) => onProgress?.({ kind: 'note', dut: this.name, line, once: true }),
        })
        return accel
      },
    }
  }

  #leanOn(program: Program): void {
    const dead = (cause: unknown) => {
      if (program.closing) return
      for (const vm of this.vms) {
        vm.alarm(
          new InfrastructureError(`the backend that ${vm.name} leans on is gone`, {
            ...{ dut: this.name, command: program.command, cause: asError(cause) },
            tail: program.console.tail(),
          }),
        )
      }
    }
    program.exited.then((status) => dead(new Error(`it ended with status ${status}`)), dead)
  }

  #forget(vm: Vm): void {
    this.#taken.delete(this.#vms.get(vm) ?? -1)
    this.#vms.delete(vm)
  }

  /** The lowest numbers that no VM here has. */
  #takeNumbers(count: number): number[] {
    const numbers: number[] = []
    for (let n = 0; numbers.length < count; n++) if (!this.#taken.has(n)) numbers.push(n)
    for (const n of numbers) this.#taken.add(n)
    return numbers
  }

  #checkNames(names: readonly string[]): void {
    const taken = new Set(this.vms.map((vm) => vm.name))
    for (const name of names) {
      if (taken.has(name)) {
        throw new UsageError(`two VMs on ${this.name} are named ${JSON.stringify(name)}`, {
          hint: 'names are unique on a DUT; leave them out to get vm0, vm1, …',
        })
      }
      taken.add(name)
    }
  }
}

function throwFirst(results: PromiseSettledResult<unknown>[]): void {
  const failed = results.find((result) => result.status === 'rejected')
  if (failed) throw failed.reason
}
