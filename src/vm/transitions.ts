import { AbortController, anySignal } from '../abort.ts'
import { UsageError } from '../errors.ts'
import type { Duration } from '../units.ts'
import type { VmParts } from './lifecycle/internals.ts'
import { resetVm } from './lifecycle/reset.ts'
import { type RestartOptions, restartVm } from './lifecycle/restart.ts'
import { migrateVm } from './migration/migrate.ts'
import { type MigrateOptions, type Migration, resolveMigrate } from './migration/options.ts'

/** The moves of a VM from one QEMU to another, one at a time. */
export class Moves {
  readonly #parts: VmParts
  readonly #stop = new AbortController()
  #moving: { what: string; done: Promise<unknown> } | undefined

  constructor(parts: VmParts) {
    this.#parts = parts
  }

  /** See `Vm.migrate`. */
  migrate(options: MigrateOptions): Promise<Migration> {
    const { home, spec, plugs, accel } = this.#parts
    return this.#alone('migrate', () =>
      plugs.inTurn(async () => {
        const wish = resolveMigrate(spec, options, {
          ...{ home, placed: plugs.placed, accel },
        })
        const signal = anySignal(wish.signal, this.#stop.signal)
        return migrateVm(this.#parts, { ...wish, signal })
      }),
    )
  }

  /** See `Vm.reset`. */
  reset(timeout: Duration): Promise<void> {
    return this.#alone('reset', () => resetVm(this.#parts, { timeout, signal: this.#stop.signal }))
  }

  /** See `Vm.restart`. */
  restart(options: RestartOptions): Promise<void> {
    const { plugs } = this.#parts
    return this.#alone('restart', () =>
      plugs.inTurn(() => restartVm(this.#parts, options, this.#stop.signal)),
    )
  }

  /** @throws UsageError while it is moved, reset or restarted */
  check(what: string): void {
    if (this.#moving === undefined) return
    const { what: other } = this.#moving
    throw new UsageError(`${this.#parts.spec.name}: ${what} while vm.${other}() is under way`, {
      hint: `await vm.${other}() first`,
    })
  }

  /** Takes back what is under way; resolves when nothing is. */
  async cancel(): Promise<void> {
    this.#stop.abort(new Error('the VM is being stopped'))
    await this.#moving?.done.catch(() => {})
  }

  async #alone<T>(what: string, fn: () => Promise<T>): Promise<T> {
    this.check(what)
    const moving = this.#parts.machine.runs.own(fn)
    this.#moving = { what, done: moving }
    try {
      return await moving
    } finally {
      this.#moving = undefined
    }
  }
}
