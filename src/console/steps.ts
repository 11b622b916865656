import { UsageError } from '../errors.ts'
import { type Duration, parseDuration } from '../units.ts'
import type { Pattern } from './pattern.ts'

/** One command of a `cmd` call, ready to be typed. */
export interface Step {
  command: string
  /** `''`: the step ends when the shell is back. */
  expect: Pattern
  timeoutMs: number
}

/** How one step of a `cmd` call went. */
export interface StepResult {
  command: string
  expect: Pattern
  /** What the command printed, up to and including what was expected. */
  output: string
  /** Text written to standard error meanwhile, where that is apart. */
  stderr?: string
  /** The command's status, where the step ended with the shell's return. */
  exitCode?: number
  durationMs: number
}

export interface CmdResult {
  /** What each command printed, without echo and prompt; lines end in `\n`. */
  outputs: string[]
  steps: StepResult[]
  /** The last of `outputs`. */
  output: string
}

export interface CmdOptions {
  signal?: AbortSignal
}

export const DEFAULT_TIMEOUT = '30s'

/** Runs steps one after another; those behind one that is not met are not run. */
export async function runSteps(
  steps: readonly Step[],
  run: (step: Step, index: number) => Promise<StepResult>,
): Promise<CmdResult> {
  const results: StepResult[] = []
  for (const [i, step] of steps.entries()) results.push(await run(step, i))
  const outputs = results.map((result) => result.output)
  return { outputs, steps: results, output: outputs.at(-1) ?? '' }
}

/**
 * The steps of a `cmd` call.
 *
 * @throws UsageError when there is no command, the lists differ in length, or a timeout is no time
 */
export function makeSteps(
  commands: string | readonly string[],
  expects?: Pattern | readonly Pattern[],
  timeouts?: Duration | readonly Duration[],
): Step[] {
  const list = typeof commands === 'string' ? [commands] : commands
  if (!Array.isArray(list) || list.length === 0) {
    throw new UsageError('cmd: the list of commands is empty', {
      hint: `give at least one command: vm.cmd('uname -r')`,
    })
  }
  const expected = sameLength('expects', expects, list.length, '')
  const times = sameLength('timeouts', timeouts, list.length, DEFAULT_TIMEOUT)
  return list.map((command: unknown, i) => {
    if (typeof command !== 'string' || command.includes('\0')) {
      throw new UsageError(`cmd: commands[${i}] is not a string that can be typed`, {
        hint: 'commands are strings without NUL characters',
      })
    }
    return {
      command,
      expect: checkPattern(expected[i], i),
      timeoutMs: parseDuration(times[i] ?? DEFAULT_TIMEOUT, `timeouts[${i}]`),
    }
  })
}

function sameLength<T>(
  name: string,
  values: T | readonly T[] | undefined,
  count: number,
  otherwise: T,
): readonly T[] {
  if (values === undefined) return Array<T>(count).fill(otherwise)
  const list = Array.isArray(values) ? (values as readonly T[]) : [values as T]
  if (list.length === count) return list
  throw new UsageError(`cmd: ${count} commands but ${list.length} ${name}`, {
    hint: `give one of ${name} for each command, in the same order; '' where nothing is expected`,
  })
}

function checkPattern(value: unknown, i: number): Pattern {
  if (typeof value === 'string' || value instanceof RegExp) return value
  throw new UsageError(`cmd: expects[${i}] is neither a string nor a regular expression`, {
    hint: `write '' where nothing is expected`,
  })
}
