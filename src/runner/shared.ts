/**
 * A WeakMap of the main process, one for each name. Vitest loads the configuration (and with it the
 * plugin) and the global set-up through different loaders, so that a module may exist twice in one
 * process; what both must see cannot live in a module.
 */
export function sharedMap<K extends object, V>(name: string): WeakMap<K, V> {
  const key = Symbol.for(`vitest-dut.${name}`)
  const globals = globalThis as { [key: symbol]: WeakMap<K, V> | undefined }
  const map = globals[key] ?? new WeakMap<K, V>()
  globals[key] = map
  return map
}
