import { homeFolder } from './user.ts'

/**
 * `$VITEST_DUT_CACHE`, or `vitest-dut` in `$XDG_CACHE_HOME`, or in `~/.cache`.
 *
 * @throws InfrastructureError for a user without a home folder
 */
export function defaultCacheDir(): string {
  const { VITEST_DUT_CACHE, XDG_CACHE_HOME } = process.env
  if (VITEST_DUT_CACHE) return VITEST_DUT_CACHE
  return `${XDG_CACHE_HOME || `${homeFolder('VITEST_DUT_CACHE')}/.cache`}/vitest-dut`
}
