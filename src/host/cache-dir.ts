import { homedir } from 'node:os'

/** `$VITEST_DUT_CACHE`, or `vitest-dut` in `$XDG_CACHE_HOME`, or in `~/.cache`. */
export function defaultCacheDir(): string {
  const { VITEST_DUT_CACHE, XDG_CACHE_HOME } = process.env
  return VITEST_DUT_CACHE || `${XDG_CACHE_HOME || `${homedir()}/.cache`}/vitest-dut`
}
