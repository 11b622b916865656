import type { ForwardCounters, ForwardStats } from './stats.ts'

/** Questions to testpmd about a port. */
export interface PortQuestions {
  driver(port: number): Promise<string>
  /** Errors of sending since the port's counters were 0. */
  txErrors(port: number): Promise<number>
}

/**
 * Packets that a vhost port did not take. In DPDK 24.11 (not in 22.11) the port counts them as errors,
 * too, and testpmd adds a port's errors to what forwarding had to give up: each is in that sum twice.
 */
export class Drops {
  readonly #ask: PortQuestions
  readonly #isVhost = new Map<number, boolean>()
  /** Errors that there were before the packets were forwarded that are counted now. */
  readonly #before = new Map<number, number>()

  constructor(ask: PortQuestions) {
    this.#ask = ask
  }

  /** The ports' counters are 0 again. */
  clear(): void {
    this.#before.clear()
  }

  /**
   * The same counters with each packet counted once.
   *
   * @param isOver whether forwarding has stopped, so that the next one counts anew
   */
  async countedOnce({ ports, total }: ForwardStats, isOver: boolean): Promise<ForwardStats> {
    const counted = await Promise.all(
      ports.map(async (counters) => ({
        ...counters,
        ...less(counters, await this.#twice(counters, isOver)),
      })),
    )
    const twice = sum(ports) - sum(counted)
    return { ports: counted, total: { ...total, ...less(total, twice) } }
  }

  /** How many are in the port's `txDropped` twice. */
  async #twice({ port, txDropped }: { port: number; txDropped: number }, isOver: boolean) {
    if (txDropped === 0 || !(await this.#isVhostPort(port))) return 0
    const errors = await this.#ask.txErrors(port)
    const before = this.#before.get(port) ?? 0
    if (isOver) this.#before.set(port, errors)
    // Counters that somebody has set to 0 meanwhile are below those before; half of all are in it twice
    // at most.
    return Math.min(errors < before ? errors : errors - before, Math.floor(txDropped / 2))
  }

  async #isVhostPort(port: number): Promise<boolean> {
    const known = this.#isVhost.get(port)
    if (known !== undefined) return known
    const isVhost = (await this.#ask.driver(port)) === 'net_vhost'
    this.#isVhost.set(port, isVhost)
    return isVhost
  }
}

function less({ txDropped, txTotal }: ForwardCounters, count: number) {
  return { txDropped: txDropped - count, txTotal: txTotal - count }
}

function sum(ports: readonly ForwardCounters[]): number {
  return ports.reduce((all, { txDropped }) => all + txDropped, 0)
}
