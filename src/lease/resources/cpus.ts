import { type CgroupFiles, cgroupsOf } from '../../host/cgroups.ts'
import type { Host } from '../../host/host.ts'
import { readText } from '../../host/read-text.ts'
import { readCpus } from './cores.ts'

/**
 * How many CPUs programs of this process can keep busy: those that it is allowed to use, of which a
 * control group may give it only a share, as `docker run --cpus` does.
 */
export async function readParallelism(host: Host, files?: CgroupFiles): Promise<number> {
  const [cpus, share] = await Promise.all([readCpus(host), readShare(host, files)])
  return Math.max(1, Math.min(cpus.length, Math.ceil(share)))
}

/** The time of so many CPUs; Infinity where nothing limits it. */
export async function readShare(host: Host, files?: CgroupFiles): Promise<number> {
  const groups = await cgroupsOf(host, 'cpu', files)
  const shares = await Promise.all(
    groups.map(async ({ version, folder }) => {
      const read = (name: string) => readText(host, `${folder}/${name}`).catch(() => '')
      // E.g. `max 100000` (cgroup-v2.rst, "cpu.max"); -1 where version 1 has no limit.
      const [quota = '', period = ''] =
        version === 2
          ? (await read('cpu.max')).split(' ')
          : await Promise.all(['cpu.cfs_quota_us', 'cpu.cfs_period_us'].map(read))
      const share = Number.parseInt(quota, 10) / Number.parseInt(period, 10)
      return share > 0 ? share : Infinity
    }),
  )
  return Math.min(Infinity, ...shares)
}
