import { performance } from '../../time.ts'
import type { WaitOptions } from '../../wait.ts'
import type { Machine } from '../instance/running-guest.ts'

/** How long what is said to a guest is kept back at a time, and then let through. */
const AT_A_TIME_MS = 1000

/** What is said to a guest that is about to move: kept back, until it is there or stays. */
export class Said {
  readonly #machine: Machine
  readonly #options: WaitOptions
  #asking: Promise<void> | undefined
  #isRead = false
  #since = 0

  constructor(machine: Machine, options: WaitOptions) {
    this.#machine = machine
    this.#options = options
  }

  /** Whether the guest has read all that was said to it, and nothing was since. */
  get isRead(): boolean {
    return this.#isRead
  }

  /** Keeps back what comes; resolves when the guest has read what came before. */
  hold(): Promise<void> {
    if (this.#asking) return this.#asking
    const { console, agent } = this.#machine
    this.#since = performance.now()
    console.hold()
    const asking = agent.hold(this.#options).then(() => {
      if (this.#asking === asking) this.#isRead = true
    })
    asking.catch(() => {}) // whoever waits for it hears
    this.#asking = asking
    return asking
  }

  /** As {@link hold}, for a while; then as {@link release}, for as long, and so on. */
  holdNow(): void {
    const isLong = performance.now() - this.#since > AT_A_TIME_MS
    if (this.#asking === undefined && (isLong || this.#since === 0)) void this.hold()
    else if (this.#asking !== undefined && isLong && this.#isRead) {
      this.release()
      this.#since = performance.now()
    }
  }

  /** Says what was kept back. @param unread what was typed before, and the guest has not taken */
  release(...unread: Uint8Array[]): void {
    this.#asking = undefined
    this.#isRead = false
    this.#machine.console.release(...unread)
    this.#machine.agent.release()
  }
}
