import { type CgroupFiles, cgroupsOf, NO_LIMIT } from '../../host/cgroups.ts'
import type { Host } from '../../host/host.ts'
import { readText } from '../../host/read-text.ts'

/** How many huge pages of a size the control groups of this process let it have. */
export interface PageLimit {
  /** With nobody else in the groups. */
  total: number
  /** Now. */
  free: number
}

/** The files of a version: what may be used, and what is; then the same of what is only reserved. */
const FILES = {
  1: [
    ['limit_in_bytes', 'usage_in_bytes'],
    ['rsvd.limit_in_bytes', 'rsvd.usage_in_bytes'],
  ],
  2: [
    ['max', 'current'],
    ['rsvd.max', 'rsvd.current'],
  ],
} as const

/**
 * The limit on huge pages of one size; undefined where there is none.
 * (https://docs.kernel.org/admin-guide/cgroup-v2.html, "HugeTLB")
 *
 * @param size in the kernel's words: `2MB`, `1GB`
 */
export async function readPageLimit(
  host: Host,
  { size, bytes }: { size: string; bytes: number },
  files?: CgroupFiles,
): Promise<PageLimit | undefined> {
  const groups = await cgroupsOf(host, 'hugetlb', files)
  const limits = await Promise.all(
    groups.flatMap(({ version, folder }) =>
      FILES[version].map(async ([limit, usage]): Promise<PageLimit> => {
        const read = (name: string) =>
          readText(host, `${folder}/hugetlb.${size}.${name}`).catch(() => '')
        const [most, used] = await Promise.all([read(limit), read(usage)])
        const total = Number.parseInt(most, 10) // `max`, or there is no such file
        if (Number.isNaN(total)) return { total: Infinity, free: Infinity }
        return { total, free: Math.max(0, total - (Number.parseInt(used, 10) || 0)) }
      }),
    ),
  )
  const pages = (kind: keyof PageLimit) =>
    Math.floor(Math.min(...limits.map((limit) => limit[kind])) / bytes)
  return pages('total') * bytes < NO_LIMIT
    ? { total: pages('total'), free: pages('free') }
    : undefined
}
