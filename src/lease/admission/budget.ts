import { UsageError } from '../../errors.ts'
import { formatSize, parseSize } from '../../units.ts'
import { type Cpu, chooseCores } from '../resources/cores.ts'
import type { HostMemory } from '../resources/memory.ts'
import type { Choice, HeldPages, Holding, Need } from '../resources/needs.ts'
import type { Pages } from '../resources/pages.ts'

/** What a host has; `undefined` where nobody asked for it. */
export interface Stock {
  memory: HostMemory
  pages?: Pages
  cpus?: readonly Cpu[]
}

/** Something of which there is too little. */
export interface Lack {
  /** What those who need the same have to wait for, too: `memory`, `pages 2M`, `cores`, `name X`. */
  resource: string
  /** Who needed what and how much there was, without who has the rest. */
  text: string
}

/** What is left of a host for those who come next; each need that is met takes its part of it. */
export class Budget {
  readonly #pages: Pages | undefined
  readonly #cpus: readonly Cpu[]
  readonly #grow: boolean
  readonly #takenCpus = new Set<number>()
  readonly #takenNames = new Set<string>()
  /** Huge pages that the control groups let us have. */
  readonly #allowed: Record<string, number> = {}
  /** Bytes. */
  #memory: number

  /** @param grow whether pools of huge pages may be enlarged */
  constructor({ memory, pages, cpus = [] }: Stock, { grow }: { grow: boolean }) {
    this.#memory = memory.available
    this.#pages = pages && { ...pages, pools: pages.pools.map((pool) => ({ ...pool })) }
    for (const [size, limit] of Object.entries(pages?.limits ?? {})) {
      if (limit) this.#allowed[size] = limit.free
    }
    this.#cpus = cpus
    this.#grow = grow
  }

  /** Takes away what somebody was promised. @param untouched the part that the host still counts as free */
  subtract(
    { cpus, pci, names }: Pick<Holding, 'cpus' | 'names'> & { pci: readonly string[] },
    untouched: { memory: number; pages?: HeldPages },
  ): void {
    this.#memory -= untouched.memory
    for (const cpu of cpus) this.#takenCpus.add(cpu)
    for (const name of [...names, ...pci]) this.#takenNames.add(name)
    if (untouched.pages === undefined) return
    const { size, node, count } = untouched.pages
    const pool = this.#pages?.pools.find((pool) => pool.size === size && pool.node === node)
    if (pool) pool.free -= count
    this.#allow(size, -count)
  }

  #allow(size: string, by: number): number {
    const left = (this.#allowed[size] ?? Infinity) + by
    this.#allowed[size] = left
    return left
  }

  /**
   * What each need is given, in their order, or what there is too little of.
   *
   * @throws UsageError where no host like this could ever meet one
   */
  meet(needs: readonly Need[]): { choices: Choice[] } | { lacks: Lack[] } {
    const choices = new Map<Need, Choice>()
    const lacks: Lack[] = []
    // Those that name their cores first: the others can do with any.
    const inOrder = needs.toSorted((a, b) => Number(namesCores(b)) - Number(namesCores(a)))
    for (const need of inOrder) {
      const met = this.#meetOne(need)
      if ('lacks' in met) {
        const who = need.vm ?? 'a test'
        lacks.push(...met.lacks.map(({ text, ...lack }) => ({ ...lack, text: `${who} ${text}` })))
      } else choices.set(need, met)
    }
    return lacks.length > 0
      ? { lacks }
      : { choices: needs.map((need) => choices.get(need) as Choice) }
  }

  #meetOne(need: Need): Choice | { lacks: Lack[] } {
    const { memory = 0, bridges = [], names = [], pci = [] } = need
    const lacks: Lack[] = []
    if (memory > this.#memory) lacks.push(this.#memoryLack(memory))
    const pages = need.pages === undefined ? undefined : this.#takePages(need.pages)
    if (pages !== undefined && 'resource' in pages) lacks.push(pages)
    const heldPages = pages !== undefined && 'count' in pages ? pages : undefined
    const cores = this.#takeCores(need, heldPages?.node)
    if (cores === undefined) lacks.push(this.#coreLack(need))
    for (const name of [...names, ...pci]) {
      if (this.#takenNames.has(name))
        lacks.push({ resource: `name ${name}`, text: `needs ${name}` })
    }
    if (lacks.length > 0) return { lacks }
    const cpus = cores?.reserved ?? []
    this.subtract({ cpus, names, pci }, { memory })
    const holding = { memory, cpus, ports: [], pci: [], bridges, names }
    return {
      need,
      holding: { ...holding, ...(heldPages && { pages: heldPages }) },
      ...(need.cores && { pin: cores?.cpus }),
    }
  }

  #memoryLack(bytes: number): Lack {
    const text = `needs ${megabytes(bytes)} of memory, ${megabytes(this.#memory)} are available`
    return { resource: 'memory', text }
  }

  #takeCores({ cores }: Need, node: number | undefined) {
    if (cores === undefined) return { cpus: [], reserved: [] }
    const wish = 'count' in cores && cores.node === undefined ? { ...cores, node } : cores
    return chooseCores(this.#cpus, this.#takenCpus, defined(wish))
  }

  #coreLack({ cores }: Need): Lack {
    const wanted =
      cores && 'list' in cores
        ? `cpu ${cores.list.join(', ')}`
        : `${cores?.count} cpus on cores of their own`
    const free = this.#cpus.filter(({ cpu }) => !this.#takenCpus.has(cpu)).map(({ cpu }) => cpu)
    const left = free.length === 0 ? 'none is free' : `free: ${free.join(', ')}`
    return { resource: 'cores', text: `needs ${wanted}, ${left}` }
  }

  #takePages({ size: wanted, bytes, node }: NonNullable<Need['pages']>): HeldPages | Lack {
    const size = wanted ?? this.#pages?.defaultSize ?? '2M'
    const count = bytes / parseSize(size)
    if (!Number.isInteger(count)) {
      throw new UsageError(`memory of ${formatSize(bytes)} is no number of huge pages of ${size}`, {
        hint: `make it a multiple of ${size}, or take pages of another size`,
      })
    }
    const pools = this.#pages?.pools.filter((pool) => pool.size === size) ?? []
    const mine = pools.filter((pool) => node === undefined || pool.node === node)
    if (mine.length === 0) {
      const where = node === undefined ? '' : ` on node ${node}`
      throw new UsageError(`this host has no huge pages of ${size}${where}`, {
        hint: `it has: ${describePools(this.#pages)}`,
      })
    }
    const allowed = this.#allow(size, 0)
    if (count > allowed) {
      const text = `needs ${count} pages of ${size}, its control group has ${allowed} left for it`
      return { resource: `pages ${size}`, text }
    }
    // The kernel counts what programs have reserved but not touched for all nodes together.
    const free = sum(pools.map((pool) => pool.free)) - (this.#pages?.reserved[size] ?? 0)
    const available = (pool: { free: number }) => Math.max(0, Math.min(pool.free, free))
    const [best] = mine.toSorted((a, b) => available(b) - available(a))
    if (best === undefined) throw new Error('unreachable: there is at least one pool')
    const missing = Math.max(0, count - available(best))
    const enlarge = missing * parseSize(size)
    if (missing > 0 && (!this.#grow || enlarge > this.#memory)) {
      return {
        resource: `pages ${size}`,
        text: `needs ${count} pages of ${size} on node ${best.node}, ${available(best)} free`,
      }
    }
    best.free += missing - count
    this.#allow(size, -count)
    const bind = pools.length > 1 || node !== undefined
    if (missing === 0) return { size, node: best.node, count, bind }
    this.#memory -= enlarge
    best.total += missing
    return {
      ...{ size, node: best.node, count, bind },
      grown: { from: best.total - missing, to: best.total },
    }
  }
}

/** The resources that a need competes for, in the words of {@link Lack}. */
export function resourcesOf(needs: readonly Need[], pages: Pages | undefined): Set<string> {
  const resources = needs.flatMap(({ memory, pages: wanted, cores, names = [], pci = [] }) => [
    ...(memory ? ['memory'] : []),
    ...(wanted ? [`pages ${wanted.size ?? pages?.defaultSize ?? '2M'}`] : []),
    ...(cores ? ['cores'] : []),
    ...[...names, ...pci].map((name) => `name ${name}`),
  ])
  return new Set(resources)
}

function namesCores({ cores }: Need): boolean {
  return cores !== undefined && 'list' in cores
}

/** Without the keys that have no value. */
function defined<T extends object>(object: T): T {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T
}

function describePools(pages: Pages | undefined): string {
  const pools = pages?.pools.map(({ size, node, total }) => `${total} of ${size} on node ${node}`)
  return pools?.join(', ') || 'none at all'
}

function megabytes(bytes: number): string {
  return `${Math.max(0, Math.floor(bytes / 2 ** 20))}M`
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}
