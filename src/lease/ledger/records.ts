import type { Host } from '../../host/host.ts'
import { lockFolder } from '../locks/folder.ts'
import { type Holder, type Owner, thisHolder } from '../locks/holder.ts'
import type { Holding, Need } from '../resources/needs.ts'
import { isLease, isWish } from './record-shape.ts'

/*
 * The ledger: files in the host's lock folder, one for each lease and one for each fleet that waits.
 * Each is a list of JSON objects, one on each line; later lines add to the earlier ones, and a line
 * without its end is not there yet. A record counts as long as somebody holds the lock of its file
 * (the QEMU it is for) or of its owner's file (the process that wrote it).
 */

interface Record {
  /** Its file's name. */
  file: string
  uid: number
  /** The file that its owner holds the lock of. */
  owner: string
  holder: Holder
  dut: string
  vm?: string
  /** The suite's folder on the host. */
  dir?: string
}

/** Something of the host that is promised to somebody. */
export interface LeaseRecord extends Record {
  holding: Holding
  /** Process id of the QEMU that holds it now; until then it is only promised. */
  qemu?: number
  /** Of its memory, only what it has changed is its own. */
  isClone?: boolean
  /** The pool of its huge pages has been enlarged as the holding says. */
  grew?: boolean
}

/** Somebody who waits until the host has enough for all that they need at once. */
export interface WishRecord extends Record {
  /** Whose is lower comes first. */
  turn: number
  needs: readonly Need[]
  /** What there was too little of since they wait: it is kept for them. */
  lacks: readonly string[]
}

export interface Ledger {
  /** The oldest first. */
  leases: LeaseRecord[]
  /** In the order of their turns. */
  wishes: WishRecord[]
}

const FILES = /^(lease|wish)@[0-9a-f]{12}$/

export function newName(kind: 'lease' | 'wish' | 'owner'): string {
  return `${kind}@${crypto.randomUUID().replaceAll('-', '').slice(0, 12)}`
}

/** Everything in the ledger, of the living and the dead. */
export async function readLedger(host: Host): Promise<Ledger> {
  const ledger: Ledger = { leases: [], wishes: [] }
  for (const { name, uid, text } of await host.readShared(await lockFolder(host), FILES)) {
    const record = parse(text)
    const entry = { ...record, file: name, uid }
    if (name.startsWith('lease')) {
      if (isLease(record)) ledger.leases.push(entry as LeaseRecord)
    } else if (isWish(record)) ledger.wishes.push(entry as WishRecord)
  }
  ledger.leases.sort(byAge)
  ledger.wishes.sort((a, b) => a.turn - b.turn)
  return ledger
}

/** Those of one moment by their VMs' names, then what a test holds for itself. */
function byAge(a: LeaseRecord, b: LeaseRecord): number {
  const name = ({ vm = '~' }: LeaseRecord) => vm
  return a.holder.since - b.holder.since || (name(a) < name(b) ? -1 : 1)
}

/** Undefined for a file that nobody has finished yet, or that is none of ours. */
function parse(text: string): object | undefined {
  const lines = text.split('\n').slice(0, -1)
  try {
    // Without a prototype, so that nobody gives it one.
    return Object.assign(Object.create(null), ...lines.map((line) => JSON.parse(line)))
  } catch {
    return undefined
  }
}

type Body<R extends Record> = Omit<R, 'file' | 'uid' | 'owner' | 'holder'>

/** Writes a record of this process; `owner` is the file whose lock it holds. */
export async function writeRecord<R extends LeaseRecord | WishRecord>(
  host: Host,
  kind: 'lease' | 'wish',
  { owner, onBehalfOf, body }: { owner: string; onBehalfOf: Owner; body: Body<R> },
): Promise<R> {
  const file = newName(kind)
  const record = { owner, holder: thisHolder(onBehalfOf), ...body }
  await host.createShared(await recordPath(host, file), `${JSON.stringify(record)}\n`)
  return { file, uid: process.getuid?.() ?? 0, ...record } as unknown as R
}

export async function addToRecord<R extends Record>(
  host: Host,
  { file }: R,
  more: Partial<R>,
): Promise<void> {
  await host.appendShared(await recordPath(host, file), `${JSON.stringify(more)}\n`)
}

export async function removeRecord(host: Host, { file }: Record): Promise<void> {
  await host.remove(await recordPath(host, file))
}

export async function recordPath(host: Host, file: string): Promise<string> {
  return `${await lockFolder(host)}/${file}`
}

/** Those of the records that nobody alive stands behind. */
export async function deadAmong<R extends Record>(host: Host, records: readonly R[]): Promise<R[]> {
  const folder = await lockFolder(host)
  const files = [...new Set(records.flatMap(({ file, owner }) => [file, owner]))]
  const held = await host.held(files.map((file) => `${folder}/${file}`))
  const alive = new Set(files.filter((_, i) => held[i]))
  return records.filter(({ file, owner }) => !alive.has(file) && !alive.has(owner))
}
