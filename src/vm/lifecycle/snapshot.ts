import type { Shell } from '../../console/shell.ts'
import type { ShellState } from '../../console/shell-state.ts'
import { GuestError, UsageError } from '../../errors.ts'
import type { PlacedDevice } from '../../qemu/args.ts'
import { QmpClosedError } from '../../qemu/qmp.ts'
import { SnapshotFile } from '../../qemu/snapshots.ts'
import { poll } from '../../wait.ts'
import type { Machine } from '../instance/running-guest.ts'

/** A state of a VM that it can be taken back to; it is gone with the test that made it, or the VM. */
export interface Snapshot extends AsyncDisposable {
  /** The VM's name. */
  readonly vm: string
  /** Frees what it takes. Calling it again does nothing. */
  drop(): Promise<void>
}

interface Kept {
  tag: string
  shell: ShellState
  conversations: readonly number[]
  kernelLog: string
  devices: readonly PlacedDevice[]
}

/** How long it may take until a guest has nothing half said. */
const QUIET_PATIENCE_MS = 30_000
/** What a guest that hangs is given before it is taken back all the same. */
const LAST_ANSWER_MS = 1000
const BACK_PATIENCE_MS = 30_000

const RESTORED = 'the VM was taken back to a snapshot meanwhile'

/** Devices as QEMU has them: one that came back is the same, whatever it is connected to by now. */
function describe(devices: readonly PlacedDevice[]): string {
  const all = devices.map(({ device, mac }) => JSON.stringify([device, mac]))
  return all.sort().join()
}

/** The snapshots of one VM. */
export class Snapshots {
  readonly #machine: Machine
  readonly #shell: Shell
  readonly #file: SnapshotFile
  readonly #kept = new Map<Snapshot, Kept>()
  #last = 0

  /** @param dir a folder of the DUT that is the VM's own */
  constructor(machine: Machine, shell: Shell, dir: string) {
    this.#machine = machine
    this.#shell = shell
    this.#file = new SnapshotFile(machine.engine.host, () => machine.qmp, `${dir}/snapshots`)
  }

  /** @throws GuestError when the guest is never quiet, InfrastructureError when QEMU cannot keep it */
  async take(): Promise<Snapshot> {
    this.#machine.agent.check()
    const { qmp, agent, kernelLog, devices, where } = this.#machine
    const tag = `s${++this.#last}`
    return this.#shell.hold(async () => {
      await poll(() => this.#stopQuietly(), {
        timeoutMs: QUIET_PATIENCE_MS,
        onTimeout: (elapsedMs) =>
          new GuestError('no snapshot: programs in the guest print all the time', {
            ...{ ...where, elapsedMs },
            hint: 'end what vm.exec, vm.session and vm.spawn have started',
          }),
      })
      const state = {
        ...{ tag, shell: this.#shell.save(), conversations: agent.conversations },
        ...{ kernelLog: kernelLog.text, devices: [...devices] },
      }
      try {
        await this.#file.save(tag)
      } finally {
        await qmp.execute('cont')
      }
      const drop = async () => {
        if (!this.#kept.delete(snapshot)) return
        await this.#file.drop(tag).catch((error) => {
          if (!(error instanceof QmpClosedError)) throw error // with QEMU the file is gone
        })
      }
      const snapshot = { vm: where.vm, drop, [Symbol.asyncDispose]: drop }
      this.#kept.set(snapshot, state)
      return snapshot
    })
  }

  /**
   * @throws UsageError when it is not a snapshot of this VM, or dropped, or devices came or went since
   * @throws GuestError when the guest does not answer afterwards
   */
  async restore(snapshot: Snapshot): Promise<void> {
    const { qmp, agent, kernelLog, life, where } = this.#machine
    const kept = this.#kept.get(snapshot)
    if (kept === undefined) {
      const whose = snapshot?.vm === where.vm ? 'dropped' : `of ${snapshot?.vm}`
      throw new UsageError(`${where.vm}: the snapshot is ${whose}`, {
        hint: `it lives as long as the test that took it; take it in beforeAll, or anew`,
      })
    }
    this.#checkDevices(kept)
    const load = async () => {
      await agent.hello({ timeoutMs: LAST_ANSWER_MS }).catch(() => {}) // all that was sent is read
      await qmp.execute('stop')
      await this.#machine.endAll(RESTORED)
      await this.#file.load(kept.tag)
      kernelLog.goBackTo(kept.kernelLog)
      await qmp.execute('cont')
      agent.closeAll(kept.conversations)
      await agent.renew({ timeoutMs: BACK_PATIENCE_MS, signal: life.ended })
    }
    const reason = new GuestError(RESTORED, where)
    await this.#shell.back(kept.shell, { reason, load, timeoutMs: BACK_PATIENCE_MS })
  }

  /** The machine is in another QEMU, and can be taken back all the same. */
  async moved(): Promise<void> {
    await this.#file.moved()
  }

  /** Stops the guest between two words: whether it is. */
  async #stopQuietly(): Promise<true | undefined> {
    const { qmp, agent, life } = this.#machine
    const traffic = await agent.settled({ timeoutMs: QUIET_PATIENCE_MS, signal: life.ended })
    await qmp.execute('stop')
    if (await agent.isQuietSince(traffic)) return true
    await qmp.execute('cont')
    return undefined
  }

  #checkDevices(kept: Kept): void {
    const { devices, where } = this.#machine
    if (describe(devices) === describe(kept.devices)) return
    throw new UsageError(`${where.vm}: devices were plugged or unplugged since the snapshot`, {
      hint: 'undo that first, or take the snapshot afterwards',
    })
  }
}
