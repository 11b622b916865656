import { AbortController, AbortSignal, anySignal } from './abort.ts'

/** Why what is waited for cannot come at present. */
export interface Standstill {
  /** The reason and what to do, as one sentence, for the errors of waits that are too long. */
  hint: string
  /** Waits fail with it at once; without it they go on, for whoever stopped it can end that. */
  cause?: Error
}

/**
 * The life of a thing, on which every wait for it depends. It can *end* (the VM is gone: all waits from
 * now on fail), raise an *alarm* (what it leans on broke, e.g. a vhost backend: the waits of this moment
 * fail, later ones may succeed again), or *stand still* (its CPUs do not run: waits fail, or wait, until
 * it goes on).
 */
export class Lifeline {
  readonly #end = new AbortController()
  readonly #parent: Lifeline | undefined
  #alarm = new AbortController()
  #still: { why: Standstill; over: PromiseWithResolvers<void> } | undefined
  #standstills = 0
  /** Made once between two alarms, because each command of a VM asks for it. */
  #signal: { joined: AbortSignal; parent: AbortSignal | undefined } | undefined

  /** @param parent its end, its alarms and its standstills are this one's too */
  constructor(parent?: Lifeline) {
    this.#parent = parent
    parent?.ended.addEventListener('abort', () => this.end(parent.ended.reason), { once: true })
    if (parent?.ended.aborted) this.end(parent.ended.reason)
  }

  /** Aborted, with the cause as its reason, once this has ended. */
  get ended(): AbortSignal {
    return this.#end.signal
  }

  /**
   * For one wait that begins now: aborted by the end, by an alarm from now on, or by a standstill that has
   * a cause, also one that has begun already.
   */
  get signal(): AbortSignal {
    const cause = this.#still?.why.cause
    if (cause && !this.#end.signal.aborted) return AbortSignal.abort(cause)
    const parent = this.#parent?.signal
    if (this.#signal === undefined || this.#signal.parent !== parent) {
      const joined = anySignal(this.#end.signal, this.#alarm.signal, parent) ?? this.#end.signal
      this.#signal = { joined, parent }
    }
    return this.#signal.joined
  }

  /** Why nothing moves at present; undefined while it does. */
  get still(): Standstill | undefined {
    return this.#still?.why ?? this.#parent?.still
  }

  /** How often it has stood still: where this is the same after a wait, the wait had all of its time. */
  get standstills(): number {
    return this.#standstills + (this.#parent?.standstills ?? 0)
  }

  /** Looks for what keeps everything from moving that nothing has told of; undefined where all is well. */
  async diagnose(): Promise<string | undefined> {
    return this.still?.hint ?? (await this.onDiagnose?.()) ?? this.#parent?.diagnose()
  }

  /** Set by whoever can look: see {@link diagnose}. */
  onDiagnose: (() => Promise<string | undefined>) | undefined

  /** Resolves when nothing stands still, or it has ended. */
  get moving(): Promise<void> {
    const own = this.#still?.over.promise
    const parent = this.#parent?.still && this.#parent.moving
    return own || parent ? Promise.all([own, parent]).then(() => this.moving) : Promise.resolve()
  }

  standStill(why: Standstill): void {
    if (!this.#still) this.#standstills++
    const over = this.#still?.over ?? Promise.withResolvers<void>()
    this.#still = { why, over }
    if (why.cause) this.alarm(why.cause)
  }

  /** Takes {@link standStill} back. */
  goOn(): void {
    const still = this.#still
    this.#still = undefined
    still?.over.resolve()
  }

  end(cause: Error): void {
    this.#end.abort(cause)
    this.goOn()
  }

  alarm(cause: Error): void {
    const raised = this.#alarm
    this.#alarm = new AbortController()
    this.#signal = undefined
    raised.abort(cause)
  }
}
