import { InfrastructureError } from '../../errors.ts'
import { parseSize } from '../../units.ts'
import type { Need } from '../resources/needs.ts'
import { type PageSize, poolFolder } from '../resources/pages.ts'
import type { Lack } from './budget.ts'
import type { Rules } from './weigh.ts'

/** The host has too little even with nobody else on it. */
export function neverError(
  needs: readonly Need[],
  lacks: readonly Lack[],
  { grow }: Rules,
): InfrastructureError {
  const texts = [...new Set(lacks.map(({ text }) => text))].join('; ')
  const first = lacks[0]?.resource ?? ''
  const size = /^pages (2M|1G)$/.exec(first)?.[1] as PageSize | undefined
  const isGroup = texts.includes('its control group')
  const hint = isGroup
    ? 'take fewer, or raise the limit: hugetlb.* in /sys/fs/cgroup'
    : size !== undefined && !grow
      ? pagesHint(needs, size)
      : HINTS.find(([resource]) => first.startsWith(resource))?.[1]
  return new InfrastructureError(`${texts}, even with nobody else on the host`, {
    dut: needs[0]?.dut,
    hint,
  })
}

/** The line to type where there are too few pages for all of them together. */
function pagesHint(needs: readonly Need[], size: PageSize): string {
  const wanted = needs.flatMap(({ pages }) => (pages && (pages.size ?? size) === size ? pages : []))
  const count = wanted.reduce((sum, { bytes }) => sum + bytes / parseSize(size), 0)
  const [node, ...others] = new Set(wanted.map((pages) => pages.node))
  const pool = poolFolder(size, others.length === 0 && node !== undefined ? { node } : {})
  return (
    'let the plugin add some, dut({ hugepages: { grow: true } }), or type, as root: ' +
    `echo ${count} >${pool}/nr_hugepages`
  )
}

const HINTS: readonly [string, string][] = [
  ['pages', 'there is too little memory to add more pages: take fewer or smaller VMs'],
  ['memory', 'take fewer or smaller VMs, or promise more than there is: dut({ overcommit: 2 })'],
  ['cores', 'pin fewer, or leave pin out'],
  ['name', 'only one VM can have it'],
]
