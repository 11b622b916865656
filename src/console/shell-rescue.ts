import { anySignal } from '../abort.ts'
import { outsideScope } from '../scope.ts'
import { poll, type WaitOptions, waitFor } from '../wait.ts'
import { type Foreground, foregroundOf, type LookAside } from './foreground.ts'
import { heldError, silentError } from './held-error.ts'
import { END_KEY, ENDING_KEYS, KEY_PATIENCE_MS, SYNC_PATIENCE_MS } from './shell-keys.ts'
import type { ShellLine } from './shell-line.ts'
import type { StepRun } from './step-run.ts'
import { NAMINGS } from './typed.ts'

/** How long nothing is heard of a command until the kernel is asked for whom the terminal waits. */
const SILENCE_MS = 400
const LONGEST_SILENCE_MS = 10_000
const ANSWER_PATIENCE_MS = 5000
const LOOK_AGAIN_MS = 50

/** Gets a shell back that does not say by itself that it is back. */
export class ShellRescue {
  /** Runs after a step that was not met; resolves when the shell is back or has been given up. */
  done: Promise<void> | undefined
  readonly #line: ShellLine
  readonly #lookAside: LookAside | undefined

  constructor(line: ShellLine, lookAside: LookAside | undefined) {
    this.#line = line
    this.#lookAside = lookAside
  }

  /**
   * Notices that a command's end will not be told, since another shell took the place of the one that it
   * was typed into, or that one gave up its line: then a shell waits at the terminal, and is asked.
   */
  watch(run: StepRun, over: AbortSignal): void {
    if (this.#lookAside === undefined || run.step.expect !== '') return
    const watching = async () => {
      await pause(SILENCE_MS, over) // most have ended by then
      if (over.aborted) return
      const signal = anySignal(over, this.#line.era.ended)
      for (let patience = SILENCE_MS; !signal.aborted; ) {
        const { heard } = this.#line
        await pause(patience, signal)
        const isSilent = () => !signal.aborted && this.#line.heard === heard
        if (!isSilent()) continue
        // Twice: the first time it may not have read the command yet.
        const seen = (await this.#look())?.atPrompt && (await this.#look())
        if (seen?.atPrompt === undefined || !isSilent()) {
          patience = Math.min(2 * patience, LONGEST_SILENCE_MS)
        } else if (seen.atPrompt === 'other') return run.foreign(seen.name)
        else await this.#wake(signal)
      }
    }
    outsideScope(watching).catch(() => {})
  }

  /** Ends what a step left running, so that the console is of use again; never rejects. */
  recover(command: string): void {
    this.#line.heldBy = command
    // Not in the scope of the test whose step it was: that has ended, and so would every wait in it.
    const { era } = this.#line
    const done = outsideScope(async () => {
      for (const key of ENDING_KEYS) {
        if (era.ended.aborted) return
        if (!(await this.#endBy(key))) continue
        this.#line.heldBy = undefined
        return
      }
    })
      .catch(() => {})
      .finally(() => {
        if (this.done === done) this.done = undefined
      })
    this.done = done
  }

  /** Types a key that ends a program; whether the shell came back in its time, in which its machine ran. */
  async #endBy(key: string): Promise<boolean> {
    const { era, console } = this.#line
    for (;;) {
      await console.life.moving
      const { standstills } = console.life
      const { signal } = era
      try {
        console.send(key)
        await this.#comeBack({ timeoutMs: KEY_PATIENCE_MS, signal })
        return true
      } catch {
        const hadItsTime = !signal.aborted && standstills === console.life.standstills
        if (hadItsTime || era.ended.aborted) return false
      }
    }
  }

  /** A console that was given up is of use again if its program has ended since. */
  async takeBack(command: string): Promise<void> {
    const { heldBy } = this.#line
    if (heldBy === undefined) return
    const { account, console } = this.#line
    if (!account.atPrompt && !account.inDoubt) {
      const seen = await this.#look()
      if (seen?.atPrompt !== 'bash') throw heldError(console, { heldBy, seen }, command)
    }
    await this.#line.sync({
      ...{ keys: '\n', timeoutMs: SYNC_PATIENCE_MS },
      onTimeout: () => silentError(console, { heldBy }, command),
    })
    this.#line.heldBy = undefined
  }

  /** Has a shell answer that waits; functions of the user's may be in the way at first. */
  async #wake(signal: AbortSignal): Promise<void> {
    const options = { timeoutMs: ANSWER_PATIENCE_MS, signal }
    for (const naming of NAMINGS) {
      const isLast = naming === NAMINGS.at(-1)
      try {
        return await this.#line.sync(options)
      } catch (error) {
        if (signal.aborted || isLast) throw error
        this.#renameNext()
      }
    }
  }

  #renameNext(): void {
    const { facts } = this.#line
    const next = NAMINGS[(NAMINGS.indexOf(facts.naming) + 1) % NAMINGS.length] ?? 'plain'
    this.#line.facts = { ...facts, naming: next }
  }

  /** Asks for the shell, once it waits at the terminal where that can be seen. */
  async #comeBack(options: WaitOptions): Promise<void> {
    if (this.#lookAside !== undefined) {
      const isBack = async () => {
        const seen = await this.#look()
        // Another shell than bash ends as any does, by an end of file.
        if (seen?.atPrompt === 'other') this.#line.console.send(END_KEY)
        return seen === undefined || seen.atPrompt === 'bash' || undefined
      }
      await poll(isBack, { ...options, everyMs: LOOK_AGAIN_MS })
    }
    // A bash that was just starting a program may have lost sight of it, and wait for it all the same
    // when it starts the next.
    await this.#line.sync({ ...options, keys: '\n', before: '(:)' }).catch((error: unknown) => {
      if (!options.signal?.aborted) this.#renameNext()
      throw error
    })
  }

  async #look(): Promise<Foreground | undefined> {
    if (this.#lookAside === undefined) return undefined
    return foregroundOf(this.#line.pids, this.#lookAside).catch(() => undefined)
  }
}

/** Resolves after `timeoutMs`, or at once when `signal` is aborted. */
function pause(timeoutMs: number, signal: AbortSignal): Promise<void> {
  return waitFor(new Promise<never>(() => {}), { timeoutMs, signal }).catch(() => {})
}
