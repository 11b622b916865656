import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { cgroupsOf, findCgroups } from '../../src/host/cgroups.ts'
import { localHost } from '../../src/host/local.ts'
import { makeTree } from '../support/tree.ts'

/** A machine that mounts both versions, with its files in a folder of the test. */
async function machine(files: Record<string, string>) {
  const root = await makeTree({ cgroup: '4:memory:/a/b\n0::/c\n', ...files })
  const mounts = [
    `30 24 0:26 / ${root}/memory rw shared:4 - cgroup cgroup rw,memory`,
    `31 24 0:27 / ${root}/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate`,
  ]
  await writeFile(`${root}/mountinfo`, mounts.join('\n'))
  return { root, files: { cgroup: `${root}/cgroup`, mountinfo: `${root}/mountinfo` } }
}

test('groups of version 2 are left out where the controller is of version 1', async () => {
  const { root, files } = await machine({ 'unified/cgroup.controllers': 'cpu hugetlb\n' })
  expect(await cgroupsOf(localHost(), 'memory', files)).toEqual([
    { version: 1, folder: `${root}/memory/a/b`, isOwn: true },
    { version: 1, folder: `${root}/memory/a`, isOwn: false },
    { version: 1, folder: `${root}/memory/`, isOwn: false },
  ])
})

test.each([
  ['the controller is of it', { 'unified/cgroup.controllers': 'cpu memory\n' }],
  ['nothing says which controllers it has', {}],
])('groups of version 2 count where %s', async (_, extra) => {
  const { root, files } = await machine(extra)
  const groups = await cgroupsOf(localHost(), 'memory', files)
  expect(groups.filter(({ version }) => version === 2)).toEqual([
    { version: 2, folder: `${root}/unified/c`, isOwn: true },
    { version: 2, folder: `${root}/unified/`, isOwn: false },
  ])
})

test('the group of another process is looked up each time, its own once', async () => {
  const host = localHost()
  const { root, files } = await machine({ 'unified/cgroup.controllers': '\n' })
  const own = async () => (await cgroupsOf(host, 'memory', files))[0]?.folder
  const others = async () => (await findCgroups(host, 'memory', files))[0]?.folder
  expect([await own(), await others()]).toEqual([`${root}/memory/a/b`, `${root}/memory/a/b`])
  await writeFile(files.cgroup, '4:memory:/d\n0::/c\n')
  expect([await own(), await others()]).toEqual([`${root}/memory/a/b`, `${root}/memory/d`])
})
