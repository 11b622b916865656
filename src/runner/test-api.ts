import { type TestAPI, TestRunner, test as vitestTest } from 'vitest'
import { asBody, asShared, like } from './scopes.ts'

type FixtureScope = 'test' | 'file' | 'worker'

interface FixtureOptions {
  scope?: FixtureScope
  auto?: boolean
  injected?: boolean
}

/** The part of a Vitest test API that matters here; its own type is about the fixtures known to it. */
interface Extendable {
  extend(...args: unknown[]): Extendable
  override(...args: unknown[]): unknown
  scoped(...args: unknown[]): unknown
}

/**
 * Vitest's `test`, in whose tests, hooks and fixtures the scopes are right, whatever it is extended with.
 *
 * @param onCollect called for each test, while its file is being collected
 */
export function makeTestApi(onCollect: () => void): TestAPI {
  const api = TestRunner.createTaskCollector(function (this: object, name, ...rest: unknown[]) {
    onCollect()
    const args = rest.map((arg) => (typeof arg === 'function' ? asBody(arg as () => unknown) : arg))
    return Reflect.apply(vitestTest.fn, this, [name, ...args])
  })
  scopeFixtures(api as unknown as Extendable, new Map())
  return api
}

/**
 * Adds what `define` adds with Vitest's builder, whose types tell the scopes, but in one step. (Vitest
 * looks for a test's line in ten frames of the stack, of which each step takes one.)
 */
export function extendAtOnce<T>(api: TestAPI, define: (api: TestAPI) => T): T {
  const fixtures: Record<string, [AnyFixture, object]> = {}
  const recorder = {
    extend: (name: string, options: object, build: Builder) => {
      const fixture = async (context: object, use: (value: unknown) => Promise<void>) => {
        let cleanUp: Cleanup | undefined
        const onCleanup = (fn: Cleanup) => {
          cleanUp = fn
        }
        await use(await build(context, { onCleanup }))
        await cleanUp?.()
      }
      fixtures[name] = [like(build, fixture), options]
      return recorder
    },
  }
  define(recorder as unknown as TestAPI)
  return (api as unknown as Extendable).extend(fixtures) as T
}

type Cleanup = () => unknown
type Builder = (context: object, tools: { onCleanup(fn: Cleanup): void }) => unknown
type AnyFixture = (...args: never[]) => unknown

/** Has fixtures that are added to `api`, and to what is made of it, run in their own scopes. */
function scopeFixtures(api: Extendable, known: ReadonlyMap<string, FixtureScope>): void {
  const { extend, override } = api
  api.extend = (...args) => {
    const scopes = new Map(known)
    const extended = Reflect.apply(extend, api, scopeEach(args, scopes))
    scopeFixtures(extended, scopes)
    return extended
  }
  api.override = (...args) => {
    Reflect.apply(override, api, scopeEach(args, new Map(known)))
    return api
  }
  api.scoped = api.override
}

/** The arguments of `extend` and `override`, which take one fixture or an object of several. */
function scopeEach(args: unknown[], scopes: Map<string, FixtureScope>): unknown[] {
  const [first, ...rest] = args
  if (typeof first === 'string') {
    const [options, value] = isOptions(rest[0]) ? rest : [undefined, ...rest]
    const scoped = scopeOne(first, value, options as FixtureOptions | undefined, scopes)
    return [
      first,
      ...(options ? [options] : []),
      ...(rest.length > (options ? 1 : 0) ? [scoped] : []),
    ]
  }
  const fixtures = Object.entries(first as object).map(([name, entry]) => {
    if (!Array.isArray(entry) || !isOptions(entry[1])) {
      return [name, scopeOne(name, entry, undefined, scopes)]
    }
    const [value, options, ...more] = entry
    return [name, [scopeOne(name, value, options, scopes), options, ...more]]
  })
  return [Object.fromEntries(fixtures), ...rest]
}

function scopeOne(
  name: string,
  value: unknown,
  options: FixtureOptions | undefined,
  scopes: Map<string, FixtureScope>,
): unknown {
  const scope = options?.scope ?? (options ? undefined : scopes.get(name)) ?? 'test'
  scopes.set(name, scope)
  if (typeof value !== 'function' || scope === 'test') return value
  return asShared(value as () => unknown, scope)
}

function isOptions(value: unknown): value is FixtureOptions {
  const keys = ['scope', 'auto', 'injected']
  return typeof value === 'object' && value !== null && keys.some((key) => key in value)
}
