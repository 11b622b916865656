import type { Progress } from '../fleet/progress.ts'
import { formatDuration } from '../units.ts'

/** Where progress is shown. */
export interface Screen {
  write(text: string): void
  isTTY: boolean
  columns: number
}

interface DutState {
  of: number
  /** The latest stage of each VM that is still starting, and when it was reached. */
  stages: Map<string, { stage: string; elapsedMs: number }>
  ready: number
  note: string | undefined
}

/**
 * Shows how VMs start: on a terminal one live line for each DUT of each suite, elsewhere (CI) plain
 * lines, one for each VM that is ready and for each note.
 */
export class ProgressView {
  readonly #screen: Screen
  readonly #states = new Map<string, DutState>()
  readonly #said = new Set<string>()
  #drawn = 0

  constructor(screen: Screen) {
    this.#screen = screen
  }

  show(suite: string, progress: Progress): void {
    const key = `${suite}  ${progress.dut}`
    if (progress.kind === 'vm') this.#showVm(key, progress)
    else if (progress.once) this.#sayOnce(progress.line, `${progress.dut}  ${progress.line}`)
    else if (!this.#screen.isTTY)
      this.#sayOnce(phase(key, progress.line), `${key}  ${progress.line}`)
    else this.#state(key).note = progress.line
    if (this.#screen.isTTY) this.#draw()
  }

  #showVm(key: string, progress: Extract<Progress, { kind: 'vm' }>): void {
    const state = this.#state(key)
    state.of = progress.of
    state.note = undefined
    const { vm, stage, elapsedMs } = progress
    if (stage === 'ready' || stage === 'failed') state.stages.delete(vm)
    else state.stages.set(vm, { stage, elapsedMs })
    if (stage === 'ready') state.ready += 1
    if (!this.#screen.isTTY && (stage === 'ready' || stage === 'failed')) {
      const done = `${state.ready}/${state.of} ready`
      this.#line(`${key}  ${done}  ${vm}: ${stage} ${formatDuration(elapsedMs)}`)
    }
    if (stage === 'failed' || state.ready >= state.of) this.#states.delete(key)
  }

  /** Takes the live lines away, so that somebody else can print. */
  clear(): void {
    if (this.#drawn > 0) this.#screen.write(`\x1b[${this.#drawn}A\x1b[J`)
    this.#drawn = 0
  }

  #state(key: string): DutState {
    const state = this.#states.get(key) ?? { of: 0, stages: new Map(), ready: 0, note: undefined }
    this.#states.set(key, state)
    return state
  }

  #sayOnce(what: string, line: string): void {
    if (this.#said.has(what)) return
    this.#said.add(what)
    this.clear()
    this.#line(line)
  }

  #draw(): void {
    this.clear()
    for (const [key, { of, ready, stages, note }] of this.#states) {
      const vms = [...stages].map(([vm, { stage, elapsedMs }]) => {
        return `${vm}: ${stage} ${formatDuration(elapsedMs)}`
      })
      const what = note ?? `${ready}/${of} ready  ${vms.join('  ')}`
      this.#line(`${key}  ${what}`.slice(0, this.#screen.columns - 1))
      this.#drawn += 1
    }
  }

  #line(text: string): void {
    this.#screen.write(`${text}\n`)
  }
}

/** A note without its counters: in a log, `unpacking packages 43/180` need not be said 180 times. */
function phase(key: string, line: string): string {
  return `${key} ${line.replaceAll(/\d+(\.\d+)?/g, '')}`
}
