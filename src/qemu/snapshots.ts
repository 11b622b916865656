import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import { folderOf, isFull } from '../host/room.ts'
import { poll } from '../wait.ts'
import type { Qmp } from './qmp.ts'

const NODE = 'snapshots'
const FILE = `${NODE}-file`
/** Bytes; of what is written at once. */
const CLUSTER = 2 << 20
const PATIENCE_MS = 120_000

/**
 * A file beside a machine that keeps earlier states of it, memory included
 * (https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html, `snapshot-save`). The machine has it from the
 * first {@link save} on until it ends, and the guest does not see it.
 */
export class SnapshotFile {
  readonly #host: Host
  readonly #qmp: () => Qmp
  readonly #path: string
  /** Of the disks that the guest writes to, which each state takes along. */
  #nodes: string[] = []
  #opening: Promise<void> | undefined
  #jobs = 0

  /** @param path of a file that does not exist yet */
  constructor(host: Host, qmp: () => Qmp, path: string) {
    this.#host = host
    this.#qmp = qmp
    this.#path = path
  }

  /** Keeps the state of the machine, which stands still. @throws InfrastructureError with QEMU's words */
  async save(tag: string): Promise<void> {
    this.#opening ??= this.#open()
    await this.#opening
    await this.#job('snapshot-save', { tag, vmstate: NODE, devices: [NODE, ...this.#nodes] })
  }

  /** Makes the machine, which stands still, what it was. @throws InfrastructureError as above */
  async load(tag: string): Promise<void> {
    await this.#job('snapshot-load', { tag, vmstate: NODE, devices: [NODE, ...this.#nodes] })
  }

  /** Forgets a state. */
  async drop(tag: string): Promise<void> {
    await this.#job('snapshot-delete', { tag, devices: [NODE, ...this.#nodes] })
  }

  async #open(): Promise<void> {
    this.#nodes = await this.#writable()
    // A machine that came from a template was restored without its shared memory, and would go on so.
    await this.#qmp().execute('migrate-set-capabilities', {
      capabilities: [{ capability: 'x-ignore-shared', state: false }],
    })
    await this.#job('blockdev-create', {
      options: { driver: 'file', filename: this.#path, size: 0 },
    })
    await this.#add({ driver: 'file', filename: this.#path, 'node-name': FILE })
    // It is a disk, too, which nobody uses: of the least size.
    await this.#job('blockdev-create', {
      options: { driver: 'qcow2', file: FILE, size: CLUSTER, 'cluster-size': CLUSTER },
    })
    await this.#add({ driver: 'qcow2', file: FILE, 'node-name': NODE })
  }

  /** The machine is in another QEMU, which gets the file; the one before must be gone. */
  async moved(): Promise<void> {
    if (this.#opening === undefined) return
    await this.#add({ driver: 'file', filename: this.#path, 'node-name': FILE })
    await this.#add({ driver: 'qcow2', file: FILE, 'node-name': NODE })
    this.#nodes = await this.#writable()
  }

  async #add(node: { driver: string; 'node-name': string; [key: string]: unknown }) {
    await this.#qmp().execute('blockdev-add', node)
  }

  /** Memory that goes back to what it was, while a disk does not, is a file system that is broken. */
  async #writable(): Promise<string[]> {
    const disks = (await this.#qmp().execute('query-block')).flatMap(({ inserted }) =>
      inserted && !inserted.ro ? [inserted] : [],
    )
    const fixed = disks.find(({ drv }) => drv !== 'qcow2')
    if (fixed) {
      throw new InfrastructureError(
        `a disk of format ${fixed.drv} keeps no states: ${fixed.file}`,
        {
          hint: 'have snapshot: true for that disk, or readonly, or make it a qcow2',
        },
      )
    }
    return disks.flatMap((disk) => disk['node-name'] ?? [])
  }

  /** Does what QEMU does in the background, to its end. */
  async #job(command: string, args: Record<string, unknown>): Promise<void> {
    const id = `${NODE}-${++this.#jobs}`
    await this.#qmp().execute(command as 'snapshot-save', { 'job-id': id, ...args } as never)
    const concluded = async () => {
      const jobs = await this.#qmp().execute('query-jobs')
      return jobs.find((job) => job.id === id && job.status === 'concluded')
    }
    const { error } = await poll(concluded, { everyMs: 2, timeoutMs: PATIENCE_MS })
    await this.#qmp().execute('job-dismiss', { id })
    if (error === undefined) return
    // QEMU says "Input/output error" of a file system that is full.
    const folder = folderOf(this.#path)
    const hasNoRoom = /space/i.test(error) || (await isFull(this.#host, folder))
    const why = hasNoRoom ? `; the file system of ${folder} is full` : ''
    throw new InfrastructureError(`QEMU's ${command} failed: ${error}${why}`, {
      ...(hasNoRoom && { hint: `make room in ${folder}, or set VITEST_DUT_RUN_DIR` }),
    })
  }
}
