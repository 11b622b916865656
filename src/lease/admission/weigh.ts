import type { Host } from '../../host/host.ts'
import { wallClock } from '../../time.ts'
import { formatDuration, parseSize } from '../../units.ts'
import type { LeaseRecord, Ledger, WishRecord } from '../ledger/records.ts'
import type { Holder } from '../locks/holder.ts'
import { readCpus } from '../resources/cores.ts'
import { readMemory, touched, touchedPages } from '../resources/memory.ts'
import type { Choice, Need } from '../resources/needs.ts'
import { type Pages, readPages } from '../resources/pages.ts'
import { Budget, type Lack, resourcesOf, type Stock } from './budget.ts'
import { pagesAddedFor } from './give-back.ts'

export interface Rules {
  /** Whether pools of huge pages may be enlarged. */
  grow: boolean
  /** How many times the memory that there is may be promised. */
  overcommit: number
}

/** What the host has of all that the needs ask for. */
export async function readStock(host: Host, needs: readonly Need[]): Promise<Stock> {
  const [memory, pages, cpus] = await Promise.all([
    readMemory(host),
    needs.some((need) => need.pages) ? readPages(host) : undefined,
    needs.some((need) => need.cores) ? readCpus(host) : undefined,
  ])
  return { memory, ...(pages && { pages }), ...(cpus && { cpus }) }
}

/**
 * What would be too little even if nobody else were on the host; empty where the needs can be met at
 * some time.
 *
 * @throws UsageError where one of them asks for what the host does not have at all
 */
export function neverEnough(
  needs: readonly Need[],
  { stock, ledger, rules }: { stock: Stock; ledger: Ledger; rules: Rules },
): Lack[] {
  const { memory, pages } = stock
  // Pages that were added for somebody are memory again when they end.
  let added = 0
  const pools = pages?.pools.map((pool) => {
    const here = sum(ledger.leases.map((lease) => pagesAddedFor(lease, pool)))
    added += here * parseSize(pool.size)
    return { ...pool, total: pool.total - here, free: pool.total - here }
  })
  const available = (memory.total + added) * rules.overcommit
  const empty: Stock = {
    ...{ ...stock, memory: { ...memory, available } },
    ...(pages && { pages: { ...pages, ...NOBODY, pools: pools ?? [], limits: whole(pages) } }),
  }
  const met = new Budget(empty, rules).meet(needs)
  return 'lacks' in met ? met.lacks : []
}

const NOBODY = { reserved: { '2M': 0, '1G': 0 } }

/** The control groups' limits with nobody else in them. */
function whole({ limits = {} }: Pages): Pages['limits'] {
  const entries = Object.entries(limits).flatMap(([size, limit]) =>
    limit ? [[size, { ...limit, free: limit.total }] as const] : [],
  )
  return Object.fromEntries(entries)
}

/**
 * What each need would be given now, beside everything that the ledger promises to others, and after
 * those who wait longer for something of the same.
 */
export async function weigh(
  host: Host,
  needs: readonly Need[],
  { stock, ledger, rules }: { stock: Stock; ledger: Ledger; rules: Rules },
): Promise<{ choices: Choice[] } | { lacks: Lack[] }> {
  const { total, available } = stock.memory
  const budget = new Budget(
    { ...stock, memory: { total, available: available + (rules.overcommit - 1) * total } },
    rules,
  )
  for (const lease of ledger.leases) {
    const { pci, ...rest } = lease.holding
    const untouched = await untouchedOf(host, lease)
    budget.subtract({ ...rest, pci: pci.map(({ address }) => address) }, untouched)
  }
  const met = budget.meet(needs)
  const resources = resourcesOf(needs, stock.pages)
  const first = ledger.wishes.flatMap(({ lacks, holder }) =>
    lacks
      .filter((resource) => resources.has(resource))
      .map((resource) => ({
        resource,
        text: `${shortHolder(holder)} has waited for ${resource} for longer`,
      })),
  )
  const lacks = [...('lacks' in met ? met.lacks : []), ...first]
  return lacks.length > 0 ? { lacks } : met
}

/**
 * The part of a lease that the host still counts as free. Where its QEMU is gone, that is all of it
 * until the lease is, too: pages that were added for it leave only then.
 */
async function untouchedOf(host: Host, { holding, qemu, isClone }: LeaseRecord) {
  const { memory, pages } = holding
  if (qemu === undefined) return { memory, ...(pages && { pages }) }
  const left = Math.max(0, memory - (await touched(host, qemu, { isClone })))
  if (pages === undefined) return { memory: left }
  const used = (await touchedPages(host, qemu)) / parseSize(pages.size)
  return { memory: left, pages: { ...pages, count: Math.max(0, pages.count - used) } }
}

/** Whether the record's end could bring what is lacking. */
export function isInTheWay(record: LeaseRecord | WishRecord, lacks: readonly Lack[]): boolean {
  const resources = lacks.map(({ resource }) => resource)
  if ('needs' in record) return record.lacks.some((resource) => resources.includes(resource))
  const { memory, pages, cpus, names, pci } = record.holding
  const has = [
    ...(memory > 0 ? ['memory'] : []),
    ...(pages ? [`pages ${pages.size}`] : []),
    ...(cpus.length > 0 ? ['cores'] : []),
    ...[...names, ...pci.map(({ address }) => address)].map((name) => `name ${name}`),
  ]
  return has.some((resource) => resources.includes(resource))
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}

const NAMED_HOLDERS = 3

/** What there is too little of and who has it, for a message. */
export function explain(lacks: readonly Lack[], { leases }: Ledger): string {
  const texts = [...new Set(lacks.map(({ text }) => text))].join('; ')
  const holders = leases.filter((lease) => isInTheWay(lease, lacks))
  const measured = lacks.some(({ resource }) => /^(pages|memory)/.test(resource))
  if (holders.length === 0) return measured ? `${texts}; other programs have the rest` : texts
  const named = holders.slice(0, NAMED_HOLDERS).map((lease) => describeLease(lease, lacks))
  const more = holders.length - named.length
  return `${texts}; ${[...named, ...(more > 0 ? [`and ${more} more`] : [])].join(', ')}`
}

function describeLease({ dut, vm, holder, holding }: LeaseRecord, lacks: readonly Lack[]): string {
  const { pages, memory, cpus } = holding
  const is = (resource: string) => lacks.some((lack) => lack.resource.startsWith(resource))
  const what = [
    ...(is('pages') && pages ? [`${pages.count} pages`] : []),
    ...(is('memory') && memory > 0 ? [`${Math.round(memory / 2 ** 20)}M`] : []),
    ...(is('cores') && cpus.length > 0 ? [`cpu ${cpus.join(',')}`] : []),
  ]
  return `${what.join(' and ') || 'it is'} promised to ${vm ?? 'a test'} on ${dut} of ${shortHolder(holder)}`
}

function shortHolder({ user, pid, suite, since }: Holder): string {
  const whose = suite ?? `process ${pid}`
  return `${user} (${whose}, ${formatDuration(Math.max(0, wallClock.now() - since))})`
}
