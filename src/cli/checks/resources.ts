import { readText } from '../../host/read-text.ts'
import { formatCpuList, readCpus } from '../../lease/resources/cores.ts'
import { readShare } from '../../lease/resources/cpus.ts'
import { readMemory } from '../../lease/resources/memory.ts'
import { roughSize } from '../output.ts'
import { type Check, degraded, ok } from './check.ts'

/** For one VM of the default size. */
const LITTLE = 512 * 2 ** 20

export const memory: Check = {
  name: 'memory',
  look: async ({ host }) => {
    const { total, available } = await readMemory(host)
    const meminfo = await readText(host, '/proc/meminfo')
    const whole = Number(/^MemTotal:\s*(\d+)/m.exec(meminfo)?.[1]) * 1024
    const huge = Number(/^Hugetlb:\s*(\d+)/m.exec(meminfo)?.[1] ?? 0) * 1024
    const limit = total < whole - huge ? `, a control group's limit on ${roughSize(whole)}` : ''
    const detail = `${roughSize(available)} of ${roughSize(total)} available${limit}`
    return available < LITTLE ? degraded(`${detail}: too little for most VMs`) : ok(detail)
  },
}

export const cpus: Check = {
  name: 'cpus',
  look: async ({ host }) => {
    const [usable, online, share] = await Promise.all([
      readCpus(host),
      readText(host, '/sys/devices/system/cpu/online'),
      readShare(host),
    ])
    const list = formatCpuList(usable.map(({ cpu }) => cpu))
    const limit = list === online.trim() ? '' : ` of ${online.trim()}: taskset or a cpuset`
    const time = share < usable.length ? `; a control group gives the time of ${share}` : ''
    return ok(`${list}${limit}${time}`)
  },
}
