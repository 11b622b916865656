import type { Host } from '../../host/host.ts'
import { addToRecord, type LeaseRecord, type Ledger, removeRecord } from '../ledger/records.ts'
import { bridgesMadeHere, removeBridge } from '../resources/bridge.ts'
import type { HeldPages } from '../resources/needs.ts'
import { changePages, readPages } from '../resources/pages.ts'
import { giveBackPci } from '../resources/pci.ts'

/** Whether the host has to be changed back when the lease ends: the rest, the kernel takes back itself. */
export function mustUndo({ holding }: LeaseRecord): boolean {
  return holding.pages?.grown !== undefined || holding.pci.length > 0 || holding.bridges.length > 0
}

/**
 * Undoes what was done to the host for a lease whose programs are gone, and takes it out of the
 * ledger; only while nobody else changes the ledger. It may be done again where it was cut short.
 */
export async function giveBack(host: Host, lease: LeaseRecord, ledger: Ledger): Promise<void> {
  const { pages, pci, bridges } = lease.holding
  if (isTrusted(lease)) {
    if (pages?.grown) await shrink(host, lease, pages, pages.grown)
    for (const device of pci) await giveBackPci(host, device)
  }
  const others = ledger.leases.filter((other) => other.file !== lease.file)
  const wanted = new Set(others.flatMap((other) => other.holding.bridges))
  const unused = bridges.filter((bridge) => !wanted.has(bridge))
  if (unused.length > 0) {
    const made = await bridgesMadeHere(host)
    for (const bridge of unused) {
      // One that somebody else has attached something to is theirs now.
      if (made.includes(bridge)) await removeBridge(host, bridge).catch(() => {})
    }
  }
  await removeRecord(host, lease)
}

/**
 * Anybody can write a record that tells root to take pages and devices away; only root can have done
 * what has to be undone so.
 */
function isTrusted({ uid }: LeaseRecord): boolean {
  return uid === 0 || uid === process.getuid?.()
}

/** How many pages a pool has only for as long as this lease needs them. */
export function pagesAddedFor(
  lease: LeaseRecord,
  { size, node }: Pick<HeldPages, 'size' | 'node'>,
): number {
  const { pages } = lease.holding
  if (!lease.grew || !isTrusted(lease) || pages?.grown === undefined) return 0
  return pages.size === size && pages.node === node ? pages.grown.to - pages.grown.from : 0
}

/**
 * The lease's own pages are free now, so nobody loses any of theirs. Of a change that was cut short,
 * growing or shrinking, what is there of it is taken back; the record says what to look for.
 */
async function shrink(
  host: Host,
  lease: LeaseRecord,
  pages: HeldPages,
  { from, to }: { from: number; to: number },
): Promise<void> {
  const { pools } = await readPages(host)
  const pool = pools.find(({ size, node }) => size === pages.size && node === pages.node)
  if (pool === undefined) return
  const { total } = pool
  const by = lease.grew ? to - from : Math.max(0, Math.min(total, to) - from)
  if (by === 0) return
  const grown = { from: total - by, to: total }
  const holding = { ...lease.holding, pages: { ...pages, grown } }
  await addToRecord(host, lease, { grew: false, holding })
  await changePages(host, pool, -by)
}
