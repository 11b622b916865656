import { type RunnerTestFile as File, type RunnerTestSuite as Suite, TestRunner } from 'vitest'
import { asError } from '../errors.ts'
import { outsideScope, Scope } from '../scope.ts'

/** The file that runs now; a worker runs one after another. */
let file = Scope.ofFile()

/** Vitest's own name for the time limit of an `aroundAll`; 0 is none. */
const AROUND_TIMEOUT = Symbol.for('VITEST_AROUND_TIMEOUT')

type AnyFunction = (...args: never[]) => unknown

/** Runs all of a file: what its describes and tests start ends with these. */
export async function inFile(task: File, runFile: () => Promise<void>): Promise<void> {
  file = Scope.ofFile()
  scopeHooks(task)
  scopeDescribes(task)
  try {
    await file.run(runFile)
  } finally {
    await file.end(new Error('the suite is over'))
  }
}

/**
 * A test's body that waits for nothing more once its time is over: the hooks that come then have the
 * VMs for themselves, although Vitest does not stop it.
 */
export function asBody<F extends AnyFunction>(body: F): F {
  return like(body, async (...args: Parameters<F>) => {
    const [{ signal }] = args as unknown as [{ signal: AbortSignal }] // aborted where its fixtures were late
    return Scope.part().runUntil(signal, async () => body(...args))
  })
}

/** A fixture whose work belongs to the whole file, or worker, whoever asks for it first. */
export function asShared<F extends AnyFunction>(fixture: F, scope: 'file' | 'worker'): F {
  const inside = (fn: () => unknown) => (scope === 'file' ? file.run(fn) : outsideScope(fn))
  return like(fixture, (context: never, tools: BuilderTools | UseFunction) => {
    // Vitest calls what it is given from where the fixture was asked for.
    const onCleanup = (fn: () => unknown) => (tools as BuilderTools).onCleanup(() => inside(fn))
    const second = typeof tools === 'function' ? tools : { ...tools, onCleanup }
    return inside(() => fixture(context, second as never))
  })
}

/** The second argument of a fixture, by the way in which it is written. */
type BuilderTools = { onCleanup(fn: () => unknown): void }
type UseFunction = (value: unknown) => Promise<void>

function scopeDescribes(parent: Suite): void {
  for (const task of parent.tasks) {
    if (task.type !== 'suite') continue
    scopeHooks(task)
    TestRunner.getSuiteHooks(task).aroundAll.unshift(inDescribe as never)
    scopeDescribes(task)
  }
}

const inDescribe = Object.assign(
  async (runSuite: () => Promise<void>) => {
    const describe = Scope.owner()
    try {
      await describe.run(runSuite)
    } finally {
      await describe.end(new Error('the describe is over'))
    }
  },
  { [AROUND_TIMEOUT]: 0 },
)

const HOOKS = ['beforeAll', 'afterAll', 'beforeEach', 'afterEach'] as const

function scopeHooks(suite: Suite): void {
  const hooks: Record<string, AnyFunction[]> = TestRunner.getSuiteHooks(suite) as never
  for (const kind of HOOKS) hooks[kind] = (hooks[kind] ?? []).map(asHook)
}

/** A hook of which nothing waits any more when it has failed: Vitest does not stop one that timed out. */
function asHook<F extends AnyFunction>(hook: F): F {
  return like(hook, async (...args: Parameters<F>) => {
    const scope = Scope.part()
    try {
      return await scope.run(() => hook(...args))
    } catch (error) {
      scope.life.end(asError(error))
      throw error
    }
  })
}

/** Makes `wrapper` look like `fn` to Vitest, which reads a function's text and its own marks on it. */
export function like<F extends AnyFunction>(fn: F, wrapper: AnyFunction): F {
  for (const key of Object.getOwnPropertySymbols(fn)) {
    Object.defineProperty(wrapper, key, Object.getOwnPropertyDescriptor(fn, key) ?? {})
  }
  return Object.defineProperty(wrapper, 'toString', { value: () => fn.toString() }) as F
}
