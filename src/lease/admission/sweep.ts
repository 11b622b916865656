import { asError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import { withLedger } from '../ledger/ledger.ts'
import {
  deadAmong,
  type LeaseRecord,
  type Ledger,
  readLedger,
  removeRecord,
  type WishRecord,
} from '../ledger/records.ts'
import { lockFolder } from '../locks/folder.ts'
import { bridgesMadeHere } from '../resources/bridge.ts'
import { giveBack, mustUndo } from './give-back.ts'

/** What a sweep found of those who are dead, and removed unless it was only to look. */
export interface Swept {
  leases: LeaseRecord[]
  wishes: WishRecord[]
  bridges: string[]
  /** Files of owners. */
  owners: string[]
  /** What could not be undone, and why; the lease stays in the ledger, for the next sweep. */
  failed: { lease: LeaseRecord; error: Error }[]
}

/**
 * Gives back everything of the host that was leased to those who are dead, as far as this user may;
 * what belongs to anybody alive is not touched. Who is alive is known by the locks they hold.
 *
 * @param dryRun only tells what would be given back
 */
export function sweepLeases(host: Host, { dryRun = false } = {}): Promise<Swept> {
  return withLedger(host, async () => {
    const ledger = await readLedger(host)
    const dead = await deadAmong(host, [...ledger.leases, ...ledger.wishes].filter(mine))
    const leases = dead.filter((record) => 'holding' in record)
    const wishes = dead.filter((record) => 'needs' in record)
    const alive = ledger.leases.filter((lease) => !leases.includes(lease))
    const used = new Set(alive.flatMap(({ holding }) => holding.bridges))
    // Not any bridge that was made here: those who use another lock folder have theirs.
    const left = new Set(leases.flatMap(({ holding }) => holding.bridges))
    const made = left.size > 0 ? await bridgesMadeHere(host) : []
    const bridges = made.filter((bridge) => left.has(bridge) && !used.has(bridge))
    const owners = await deadOwners(host)
    if (dryRun) return { leases, wishes, bridges, owners, failed: [] }
    const failed = await bury(host, dead, ledger)
    const folder = await lockFolder(host)
    for (const owner of owners) await host.remove(`${folder}/${owner}`)
    // Of one who died between making a record and writing it; nobody else writes one just now.
    for (const { name, text, uid } of await host.readShared(
      folder,
      /^(lease|wish)@[0-9a-f]{12}$/,
    )) {
      if (!text.includes('\n') && mine({ uid })) await host.remove(`${folder}/${name}`)
    }
    return { leases, wishes, bridges, owners, failed }
  })
}

/**
 * Gives back what the dead among these had, as far as this user may; within the ledger's turn.
 *
 * @returns the dead, also those whose records only others may remove, but none whose part of the host
 *   is not given back: nobody else can have that
 */
export async function buryDead(
  host: Host,
  records: readonly (LeaseRecord | WishRecord)[],
  ledger: Ledger,
): Promise<(LeaseRecord | WishRecord)[]> {
  const dead = records.length > 0 ? await deadAmong(host, records) : []
  const failed = await bury(host, dead.filter(mine), ledger)
  return dead.filter((record) => {
    if ('needs' in record) return true
    return mine(record) ? !failed.some(({ lease }) => lease === record) : !mustUndo(record)
  })
}

async function bury(
  host: Host,
  dead: readonly (LeaseRecord | WishRecord)[],
  ledger: Ledger,
): Promise<Swept['failed']> {
  const failed: Swept['failed'] = []
  const files = new Set(dead.map(({ file }) => file))
  const alive = { ...ledger, leases: ledger.leases.filter(({ file }) => !files.has(file)) }
  for (const record of dead) {
    if ('needs' in record) await removeRecord(host, record)
    else {
      await giveBack(host, record, alive).catch((error) => {
        failed.push({ lease: record, error: asError(error) })
      })
    }
  }
  return failed
}

/** In a sticky folder only its owner, and root, can remove a file. */
function mine({ uid }: { uid: number }): boolean {
  const self = process.getuid?.()
  return self === 0 || self === uid
}

async function deadOwners(host: Host): Promise<string[]> {
  const folder = await lockFolder(host)
  const files = (await host.readShared(folder, /^owner@[0-9a-f]{12}$/)).filter(mine)
  const held = await host.held(files.map(({ name }) => `${folder}/${name}`))
  return files.filter((_, i) => !held[i]).map(({ name }) => name)
}
