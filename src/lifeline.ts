import { anySignal } from './wait.ts'

/**
 * What every wait on something depends on. It can *end* (the VM is gone: all waits from now on fail)
 * or raise an *alarm* (what it leans on broke, e.g. a vhost backend: the waits of this moment fail,
 * later ones may succeed again).
 */
export class Lifeline {
  readonly #end = new AbortController()
  readonly #parent: Lifeline | undefined
  #alarm = new AbortController()

  /** @param parent its end and its alarms are this one's too */
  constructor(parent?: Lifeline) {
    this.#parent = parent
    parent?.ended.addEventListener('abort', () => this.end(parent.ended.reason), { once: true })
    if (parent?.ended.aborted) this.end(parent.ended.reason)
  }

  /** Aborted, with the cause as its reason, once this has ended. */
  get ended(): AbortSignal {
    return this.#end.signal
  }

  /** For one wait that begins now: aborted by the end, or by an alarm from now on. */
  get signal(): AbortSignal {
    const parent = this.#parent?.signal
    return anySignal(this.#end.signal, this.#alarm.signal, parent) ?? this.#end.signal
  }

  end(cause: Error): void {
    this.#end.abort(cause)
  }

  alarm(cause: Error): void {
    const raised = this.#alarm
    this.#alarm = new AbortController()
    raised.abort(cause)
  }
}
