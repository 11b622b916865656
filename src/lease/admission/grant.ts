import type { Host } from '../../host/host.ts'
import { withLedger } from '../ledger/ledger.ts'
import { letGoOfOwner, takeOwner } from '../ledger/owner.ts'
import {
  addToRecord,
  type LeaseRecord,
  type Ledger,
  readLedger,
  recordPath,
  removeRecord,
  writeRecord,
} from '../ledger/records.ts'
import type { Owner } from '../locks/holder.ts'
import type { Choice, Holding } from '../resources/needs.ts'
import { changePages } from '../resources/pages.ts'
import { inspectPci } from '../resources/pci.ts'
import { choosePorts, PORT_RANGE } from '../resources/ports.ts'
import { giveBack, mustUndo } from './give-back.ts'

/** A part of the host that nobody else is given until it is released or its holders are dead. */
export interface GrantedLease extends AsyncDisposable {
  readonly holding: Holding
  /** The host's cpus for the virtual ones, in their order; undefined where nothing is pinned. */
  readonly pin?: readonly number[]
  /** The program that the lease is for holds the lock of this file, shared, for as long as it lives. */
  readonly lockFile: string
  /**
   * Tells that this QEMU has its memory now, and holds the lease.
   *
   * @param options.isClone its memory is a file's that others have as well, but for what it changes
   */
  settle(qemu: number, options?: { isClone?: boolean }): Promise<void>
  /** Once the programs are gone. What was changed on the host for it is changed back. */
  release(): Promise<void>
}

interface GrantOptions {
  owner: string
  onBehalfOf: Owner
  ledger: Ledger
}

/** Enters the choices into the ledger and changes the host for them, all or none; within the ledger's turn. */
export async function grant(
  host: Host,
  choices: readonly Choice[],
  { owner, onBehalfOf, ledger }: GrantOptions,
): Promise<GrantedLease[]> {
  const leased = new Set(ledger.leases.flatMap(({ holding }) => holding.ports))
  const granted: LeaseRecord[] = []
  try {
    for (const { need, holding } of choices) {
      const range = need.portRange ?? PORT_RANGE
      const ports = await choosePorts(host, need.ports ?? 0, { range, leased })
      for (const port of ports) leased.add(port)
      const pci = await Promise.all(
        (need.pci ?? []).map((address) => inspectPci(host, address, '/sys', need.pci)),
      )
      const { dut, vm, dir } = need
      // Written before the host is changed: whoever finds it after our death knows what to undo.
      const record = await writeRecord<LeaseRecord>(host, 'lease', {
        ...{ owner, onBehalfOf },
        body: { dut, ...(vm && { vm }), ...(dir && { dir }), holding: { ...holding, ports, pci } },
      })
      granted.push(record)
      const { pages } = holding
      if (!pages?.grown) continue
      await changePages(host, pages, pages.grown.to - pages.grown.from)
      await addToRecord(host, record, { grew: true })
      record.grew = true
    }
  } catch (error) {
    for (const record of granted.reverse()) await giveBack(host, record, ledger)
    throw error
  }
  for (const _ of granted) await takeOwner(host)
  return Promise.all(granted.map((record, i) => lease(host, record, choices[i]?.pin)))
}

async function lease(
  host: Host,
  record: LeaseRecord,
  pin: readonly number[] | undefined,
): Promise<GrantedLease> {
  let releasing: Promise<void> | undefined
  const release = () => {
    releasing ??= end(host, record)
    return releasing
  }
  return {
    holding: record.holding,
    ...(pin && { pin }),
    lockFile: await recordPath(host, record.file),
    settle: (qemu, { isClone = false } = {}) =>
      addToRecord(host, record, { qemu, ...(isClone && { isClone }) }),
    release,
    [Symbol.asyncDispose]: release,
  }
}

async function end(host: Host, record: LeaseRecord): Promise<void> {
  try {
    if (!mustUndo(record)) await removeRecord(host, record)
    else await withLedger(host, async () => giveBack(host, record, await readLedger(host)))
  } finally {
    await letGoOfOwner(host)
  }
}
