import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { localHost } from '../../../src/host/local.ts'
import { readPageLimit } from '../../../src/lease/resources/page-limits.ts'
import { makeTree } from '../../support/tree.ts'

const MB = 2 ** 20

const limit = async (places: string, files: Record<string, string | number>) => {
  const root = await makeTree({ cgroup: places, ...files })
  const mounts = [
    `30 24 0:26 / ${root}/one rw - cgroup cgroup rw,hugetlb`,
    `31 24 0:27 / ${root}/two rw - cgroup2 cgroup2 rw`,
  ]
  await writeFile(`${root}/mountinfo`, mounts.join('\n'))
  const its = { cgroup: `${root}/cgroup`, mountinfo: `${root}/mountinfo` }
  return readPageLimit(localHost(), { size: '2MB', bytes: 2 * MB }, its)
}

test.each<[string, string, Record<string, string | number>, object | undefined]>([
  ['none', '0::/a', {}, undefined],
  ['no limit', '0::/a', { 'two/a/hugetlb.2MB.max': 'max' }, undefined],
  ['of another size', '0::/a', { 'two/a/hugetlb.1GB.max': 0 }, undefined],
  ['nothing at all', '0::/a', { 'two/a/hugetlb.2MB.max': 0 }, { total: 0, free: 0 }],
  [
    'less what is used',
    '0::/a',
    { 'two/a/hugetlb.2MB.max': 100 * MB, 'two/a/hugetlb.2MB.current': 20 * MB },
    { total: 50, free: 40 },
  ],
  [
    'less what is reserved',
    '0::/a',
    { 'two/a/hugetlb.2MB.rsvd.max': 100 * MB, 'two/a/hugetlb.2MB.rsvd.current': 98 * MB },
    { total: 50, free: 1 },
  ],
  [
    'far above',
    '0::/a/b/c',
    { 'two/a/b/c/hugetlb.2MB.max': 100 * MB, 'two/a/hugetlb.2MB.max': 10 * MB },
    { total: 5, free: 5 },
  ],
  [
    'of version 1',
    '7:hugetlb:/a',
    { 'one/a/hugetlb.2MB.limit_in_bytes': 64 * MB, 'one/a/hugetlb.2MB.usage_in_bytes': 65 * MB },
    { total: 32, free: 0 },
  ],
  [
    'of version 1, no limit',
    '7:hugetlb:/a',
    { 'one/a/hugetlb.2MB.limit_in_bytes': '9223372036854771712' },
    undefined,
  ],
])('the limit of a control group: %s', async (_, places, files, wanted) => {
  expect(await limit(places, files)).toEqual(wanted)
})
