import type { Host } from '../host/host.ts'
import { readParallelism } from '../lease/resources/cpus.ts'
import { readMemory } from '../lease/resources/memory.ts'
import { parseSize } from '../units.ts'
import type { ResolvedSpec } from '../vm/spec/spec.ts'

/** How many VMs start at once where nobody says so. */
export async function defaultConcurrency(
  host: Host,
  specs: readonly ResolvedSpec[],
): Promise<number> {
  if (specs.length < 2) return 1
  const [cores, { available }] = await Promise.all([readParallelism(host), readMemory(host)])
  return concurrencyIn({ cores, memory: available }, specs)
}

/** As many as have memory, and some for each core: a booting guest waits as often as it computes. */
export function concurrencyIn(
  { cores, memory }: { cores: number; memory: number },
  specs: readonly ResolvedSpec[],
): number {
  const largest = Math.max(...specs.map(({ memory }) => parseSize(memory.size)), 1)
  return Math.max(1, Math.min(cores * 4, Math.floor(memory / largest)))
}
