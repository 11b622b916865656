import { UsageError } from '../errors.ts'
import type { CoreWish } from '../lease/resources/cores.ts'
import type { Need } from '../lease/resources/needs.ts'
import type { PortRange } from '../lease/resources/ports.ts'
import { checkInteger } from '../options.ts'

/** What `dut.lease` takes for each kind. */
export interface LeaseWish {
  /** How many; each is free for TCP and UDP. */
  ports: number
  /** How many whole cores' worth of CPUs, or the CPUs by their numbers. */
  cores: number | readonly number[]
  /** A name that all who want the same thing agree on. */
  name: string
}
export type LeaseKind = keyof LeaseWish

/** @throws UsageError for an unknown kind or a bad value */
export function wishToNeed<K extends LeaseKind>(
  kind: K,
  wanted: LeaseWish[K],
  where: { dut: string; dir: string; portRange?: PortRange },
): Need {
  if (kind === 'ports') {
    return { ...where, ports: checkInteger("lease('ports')", wanted, 1, 1000) }
  }
  if (kind === 'cores') return { ...where, cores: coreWish(wanted) }
  if (kind !== 'name') {
    throw new UsageError(`lease: ${JSON.stringify(kind)} is unknown`, {
      hint: `'ports', 'cores' or 'name'`,
    })
  }
  if (typeof wanted === 'string' && wanted !== '') return { ...where, names: [wanted] }
  throw new UsageError(`lease('name'): ${JSON.stringify(wanted)} is not a name`)
}

function coreWish(wanted: unknown): CoreWish {
  if (!Array.isArray(wanted)) return { count: checkInteger("lease('cores')", wanted, 1, 4096) }
  if (wanted.length === 0) {
    throw new UsageError("lease('cores'): [] names no cpu", {
      hint: 'how many, or which: 2, [2, 3]',
    })
  }
  for (const cpu of wanted) checkInteger("lease('cores')", cpu, 0, 4095)
  return { list: wanted }
}
