import { InfrastructureError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import { stopSignal } from '../../scope.ts'
import { performance } from '../../time.ts'
import { poll } from '../../wait.ts'
import { withLedger } from '../ledger/ledger.ts'
import { letGoOfOwner, takeOwner } from '../ledger/owner.ts'
import {
  addToRecord,
  type LeaseRecord,
  type Ledger,
  readLedger,
  removeRecord,
  type WishRecord,
  writeRecord,
} from '../ledger/records.ts'
import type { Owner } from '../locks/holder.ts'
import type { Need } from '../resources/needs.ts'
import type { Lack } from './budget.ts'
import { type GrantedLease, grant } from './grant.ts'
import { neverError } from './never-error.ts'
import { buryDead } from './sweep.ts'
import { explain, isInTheWay, neverEnough, type Rules, readStock, weigh } from './weigh.ts'

export interface AdmitOptions extends Partial<Rules> {
  owner?: Owner
  /** Milliseconds to wait for what others have; 30 minutes where none is given. */
  timeoutMs?: number
  signal?: AbortSignal
  /** Called about every second of a wait with what it is for and who has it. */
  onWait?: (text: string) => void
  /** Called where memory is lacking, to give back what can be made again; true where it gave any back. */
  makeRoom?: (bytes: number) => Promise<boolean>
}

const PATIENCE_MS = 30 * 60_000
/** How often a waiter looks whether it would be its turn now; that takes no lock. */
const GLANCE_MS = 100
/** How often it looks in earnest, whether those in its way are alive, and tells whom it waits for. */
const LOOK_MS = 1000

/**
 * Promises to each need its part of the host, to all of them or to none, once there is enough for all
 * at once beside what others were promised. Those who want something of the same come in the order in
 * which they asked, so nobody starves, and since nobody is given a part of what they need, no two can
 * wait for each other.
 *
 * @throws InfrastructureError when the host can never have enough, or had not in time
 * @throws UsageError when a need is for something that the host does not have
 */
export async function admit(
  host: Host,
  needs: readonly Need[],
  options: AdmitOptions = {},
): Promise<GrantedLease[]> {
  if (needs.length === 0) return []
  const {
    grow = false,
    overcommit = 1,
    timeoutMs = PATIENCE_MS,
    owner = {},
    onWait,
    makeRoom,
  } = options
  const applicant = new Applicant(host, needs, { grow, overcommit }, { ...options, owner })
  const signal = stopSignal(options.signal)
  const startedAt = performance.now()
  let lookedAt = startedAt
  let lacking = ''
  let granted: GrantedLease[] | undefined
  const bytes = needs.reduce((sum, { memory = 0 }) => sum + memory, 0)
  const look = async () => {
    let answer = await applicant.ask(signal)
    const isShort = !Array.isArray(answer) && answer.lacks.some(isMemory)
    if (isShort && (await makeRoom?.(bytes))) answer = await applicant.ask(signal)
    lookedAt = performance.now()
    if (Array.isArray(answer)) return answer
    lacking = answer.lacking
    if (lookedAt - startedAt >= LOOK_MS) onWait?.(`waits for the host: ${lacking}`)
    return undefined
  }
  try {
    granted = await look()
    granted ??= await poll(
      async () => {
        const due = performance.now() - lookedAt >= LOOK_MS
        return due || (await applicant.mayHave()) ? look() : undefined
      },
      {
        ...{ everyMs: GLANCE_MS, timeoutMs, signal },
        onTimeout: (elapsedMs) =>
          new InfrastructureError(lacking, {
            ...{ dut: needs[0]?.dut, elapsedMs },
            hint: '`npx vitest-dut ps` shows who has what: let them end, or ask for less',
          }),
      },
    )
    return granted
  } finally {
    await applicant.leave({ empty: granted === undefined })
  }
}

/** What was got, or what is lacking and who has it. */
type Answer = GrantedLease[] | { lacking: string; lacks: readonly Lack[] }

const isMemory = ({ resource }: Lack) => resource === 'memory'

/** Somebody who asks the host for several things at once, and keeps their place while they wait. */
class Applicant {
  readonly #host: Host
  readonly #needs: readonly Need[]
  readonly #rules: Rules
  readonly #options: AdmitOptions & { owner: Owner }
  /** Records of those who were found dead, of whomever they are. */
  readonly #dead = new Set<string>()
  #owner: string | undefined
  #wish: WishRecord | undefined
  #asking: Promise<Answer> = Promise.resolve([])
  #hasLeft = false

  constructor(
    host: Host,
    needs: readonly Need[],
    rules: Rules,
    options: AdmitOptions & { owner: Owner },
  ) {
    this.#host = host
    this.#needs = needs
    this.#rules = rules
    this.#options = options
  }

  /** Takes what is needed, or a place in the queue; says what is lacking and who has it. */
  ask(signal?: AbortSignal): Promise<Answer> {
    const { owner } = this.#options
    // What goes before a question may take longer than the wait.
    if (this.#hasLeft) return Promise.reject(new Error('nobody waits any more'))
    this.#asking = withLedger(this.#host, () => this.#ask(), { owner, signal })
    return this.#asking
  }

  /** Whether it looks as if asking would succeed. Nobody is held up by it, and it may be wrong. */
  async mayHave(): Promise<boolean> {
    return 'choices' in (await this.#look()).met
  }

  /** Gives up the place in the queue, and with `empty` also what was granted too late to be heard of. */
  async leave({ empty }: { empty: boolean }): Promise<void> {
    this.#hasLeft = true
    const answer = await this.#asking.catch(() => undefined)
    if (empty && Array.isArray(answer)) await Promise.all(answer.map((lease) => lease.release()))
    if (this.#wish) await removeRecord(this.#host, this.#wish)
    if (this.#owner) await letGoOfOwner(this.#host)
  }

  async #ask(): Promise<Answer> {
    const host = this.#host
    this.#owner ??= await takeOwner(host)
    let { stock, met, ledger } = await this.#look()
    if (this.#wish === undefined) {
      const never = neverEnough(this.#needs, { stock, ledger, rules: this.#rules })
      if (never.length > 0) throw neverError(this.#needs, never, this.#rules)
    }
    if ('lacks' in met) {
      const { lacks } = met
      const all = [...ledger.leases, ...ledger.wishes]
      const inTheWay = all.filter((record) => isInTheWay(record, lacks))
      if (await this.#findDead(inTheWay, ledger)) ({ met, ledger } = await this.#look())
    }
    if ('lacks' in met) {
      await this.#queue(met.lacks, ledger)
      return { lacking: explain(met.lacks, ledger), lacks: met.lacks }
    }
    const { owner: onBehalfOf } = this.#options
    try {
      return await grant(host, met.choices, { owner: this.#owner, onBehalfOf, ledger })
    } catch (error) {
      // What only the granting finds lacking, such as ports, the dead may have.
      if (await this.#findDead(ledger.leases, ledger)) return this.#ask()
      throw error
    }
  }

  /** What the host has, what those before us have or wait for, and what that leaves for us. */
  async #look() {
    const host = this.#host
    // In this order: whose QEMU has its pages by then, it is told of after the kernel took them.
    const all = await readLedger(host)
    const stock = await readStock(host, this.#needs)
    const turn = this.#wish?.turn ?? Number.POSITIVE_INFINITY
    const ledger = {
      leases: all.leases.filter(({ file }) => !this.#dead.has(file)),
      wishes: all.wishes.filter((wish) => !this.#dead.has(wish.file) && wish.turn < turn),
    }
    const met = await weigh(host, this.#needs, { stock, ledger, rules: this.#rules })
    return { stock, ledger, met }
  }

  /** Looks whether these are alive, and buries them where they are not; whether any was dead. */
  async #findDead(records: readonly (LeaseRecord | WishRecord)[], ledger: Ledger) {
    const dead = await buryDead(this.#host, records, ledger)
    for (const { file } of dead) this.#dead.add(file)
    return dead.length > 0
  }

  async #queue(lacks: readonly Lack[], { wishes }: Ledger): Promise<void> {
    // What was lacking once is kept for us: else others could take by turns what we need together.
    const before = this.#wish?.lacks ?? []
    const lacking = [...new Set([...before, ...lacks.map(({ resource }) => resource)])]
    if (this.#wish !== undefined) {
      if (lacking.length === before.length) return
      await addToRecord(this.#host, this.#wish, { lacks: lacking })
      this.#wish.lacks = lacking
      return
    }
    const { owner: onBehalfOf } = this.#options
    this.#wish = await writeRecord<WishRecord>(this.#host, 'wish', {
      owner: this.#owner ?? '',
      onBehalfOf,
      body: {
        dut: this.#needs[0]?.dut ?? '',
        turn: (wishes.at(-1)?.turn ?? 0) + 1,
        needs: this.#needs,
        lacks: lacking,
      },
    })
  }
}
