import { AsyncLocalStorage } from 'node:async_hooks'
import { anySignal } from './abort.ts'
import { Lifeline } from './lifeline.ts'

type Cleanup = () => Promise<void>

const current = new AsyncLocalStorage<Scope>()

/**
 * A stretch of a run in which calls are made: a file, a describe, a test, the body of one. All that
 * waits inside of it, however deep, can be stopped, and what is {@link defer}red inside of it is done
 * when it ends. This is how a command in a VM ends with the test that gave it, although Vitest does not
 * stop the body of a test that has timed out.
 */
export class Scope {
  /** Its end ends every wait inside, now and later; its alarm those of this moment. */
  readonly life: Lifeline
  /** Clean-ups of the scope that owns what is started inside. */
  private readonly cleanups: Cleanups | undefined
  private readonly isPart: boolean

  private constructor(life: Lifeline, cleanups: Cleanups | undefined, { isPart = false } = {}) {
    this.life = life
    this.cleanups = cleanups
    this.isPart = isPart
  }

  /** Owns what is deferred inside of it. */
  static owner(): Scope {
    return new Scope(new Lifeline(), new Cleanups())
  }

  /** Owns nothing: what is started inside of it ends with the suite. */
  static ofFile(): Scope {
    return new Scope(new Lifeline(), undefined)
  }

  /** A part of the surrounding scope: it can be stopped alone, and leaves what is deferred to the whole. */
  static part(): Scope {
    const whole = current.getStore()
    return new Scope(new Lifeline(whole?.life), whole?.cleanups, { isPart: true })
  }

  run<T>(fn: () => T): T {
    return current.run(this, fn)
  }

  /**
   * Runs `fn` in it, and stops what waits inside when `signal` is aborted: all of it for good, or with
   * `once` what waits at that moment.
   */
  async runUntil<T>(signal: AbortSignal, fn: () => Promise<T>, { once = false } = {}): Promise<T> {
    const stop = () => (once ? this.life.alarm(signal.reason) : this.life.end(signal.reason))
    if (signal.aborted && !once) stop()
    signal.addEventListener('abort', stop, { once: true })
    try {
      return await this.run(fn)
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  defer(cleanup: Cleanup): boolean {
    this.cleanups?.add(cleanup)
    return this.cleanups !== undefined
  }

  /**
   * Stops what still waits inside, then does what was deferred.
   *
   * @throws the error of the first clean-up that failed, when all are done
   */
  async end(cause: Error): Promise<void> {
    this.life.end(cause)
    if (!this.isPart) await this.cleanups?.doAll()
  }
}

/** Tasks for the end of a scope, last first. */
class Cleanups {
  readonly #list: Cleanup[] = []
  #isOver = false

  add(cleanup: Cleanup): void {
    // A clean-up added after the end has nobody to wait for it.
    if (this.#isOver) void outsideScope(cleanup).catch(() => {})
    else this.#list.push(cleanup)
  }

  async doAll(): Promise<void> {
    this.#isOver = true
    const errors: unknown[] = []
    for (const cleanup of this.#list.splice(0).reverse()) {
      await outsideScope(cleanup).catch((error: unknown) => void errors.push(error))
    }
    if (errors.length > 0) throw errors[0]
  }
}

/** The signals given, and the one of the surrounding {@link Scope}, as one. */
export function stopSignal(...signals: (AbortSignal | undefined)[]): AbortSignal | undefined {
  return anySignal(current.getStore()?.life.signal, ...signals)
}

/** Has `cleanup` done at the end of the surrounding scope; false where nobody owns what is started. */
export function defer(cleanup: Cleanup): boolean {
  return current.getStore()?.defer(cleanup) ?? false
}

/** Runs `fn` outside of any scope: what it starts belongs to more than the test that asked first. */
export function outsideScope<T>(fn: () => T): T {
  return current.exit(fn)
}
