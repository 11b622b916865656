import { mkdir, rmdir, writeFile } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../../src/host/local.ts'
import { readParallelism, readShare } from '../../../src/lease/resources/cpus.ts'
import { makeTree } from '../../support/tree.ts'

const host = localHost()

const share = async (places: string, files: Record<string, string | number>) => {
  const root = await makeTree({ cgroup: places, ...files })
  const mounts = [
    `30 24 0:26 / ${root}/one rw - cgroup cgroup rw,cpu,cpuacct`,
    `31 24 0:27 / ${root}/two rw - cgroup2 cgroup2 rw`,
  ]
  await writeFile(`${root}/mountinfo`, mounts.join('\n'))
  return readShare(host, { cgroup: `${root}/cgroup`, mountinfo: `${root}/mountinfo` })
}
const v1 = (quota: number, period = 100_000) => ({
  'one/a/cpu.cfs_quota_us': quota,
  'one/a/cpu.cfs_period_us': period,
})

test.each<[string, string, Record<string, string | number>, number]>([
  ['none', '0::/a', {}, Infinity],
  ['no limit', '0::/a', { 'two/a/cpu.max': 'max 100000' }, Infinity],
  ['half a CPU', '0::/a', { 'two/a/cpu.max': '50000 100000' }, 0.5],
  ['less above', '0::/a/b', { 'two/a/b/cpu.max': '4 2', 'two/a/cpu.max': '3 2' }, 1.5],
  ['version 1', '3:cpu,cpuacct:/a', v1(200_000), 2],
  ['version 1 without a limit', '3:cpu,cpuacct:/a', v1(-1), Infinity],
  ['another controller’s', '3:cpuset:/a', v1(100_000), Infinity],
])('the share of a control group: %s', async (_, places, files, wanted) => {
  expect(await share(places, files)).toBe(wanted)
})

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const SCRIPT = `
  import { localHost } from '${at('../../../src/host/local.ts')}'
  import { readParallelism } from '${at('../../../src/lease/resources/cpus.ts')}'
  console.log(await readParallelism(localHost()))`
const node = [process.execPath, '--input-type=module', '-e', SCRIPT] as const

test('this process may use as many CPUs as Node says', async () => {
  expect(await readParallelism(host)).toBe(availableParallelism())
})

test.skipIf(cpus().length < 2)('those that taskset(1) leaves are all there are', async () => {
  const { stdout } = await host.run('taskset', ['-c', '0', ...node])
  expect(stdout).toBe('1\n')
})

const V1 = '/sys/fs/cgroup/cpuset'
const canLimit = process.getuid?.() === 0 && (await host.fileFacts(`${V1}/cpuset.cpus`))
test.skipIf(!canLimit || cpus().length < 2)('so are those of a cpuset', async () => {
  const group = `${V1}/vitest-dut-test-${crypto.randomUUID()}`
  await mkdir(group)
  onTestFinished(() => rmdir(group))
  await writeFile(`${group}/cpuset.mems`, '0')
  await writeFile(`${group}/cpuset.cpus`, '1')
  const enter = `echo $$ >${group}/cgroup.procs && exec "$0" "$@"`
  const { stdout } = await host.run('sh', ['-c', enter, ...node])
  expect(stdout).toBe('1\n')
})
