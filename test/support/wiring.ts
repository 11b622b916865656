import type { Port, Vm } from 'vitest-dut'

/** All that a probe must leave as it was; a queue comes to be when a port is up for the first time. */
const STATE = `
ip -details address | sed 's/valid_lft .*//; s/ qdisc [^ ]*//; s/ tentative//'; ip neighbour; ip route; ip -6 route; bridge fdb
grep -r . /proc/sys/net/ipv6/conf/*/disable_ipv6 /sys/class/net/*/flags`

export async function statesOf(vms: readonly Vm[]): Promise<string[]> {
  const results = await Promise.all(vms.map((vm) => vm.exec(STATE, { check: true })))
  return results.map(({ stdout }) => stdout)
}

/**
 * Each port of the VMs as `vm/id`, or by its address where it has no id, and what it is connected to; `>`
 * and `<` are one way.
 */
export function wiring(vms: readonly Vm[], found: readonly Port[][]): Record<string, string> {
  const sign = { both: '', out: '>', in: '<' }
  const word = ({ id, mac }: { id?: string; mac?: string }) => id ?? mac?.slice(-5)
  return Object.fromEntries(
    vms.flatMap(({ name }, i) =>
      (found[i] ?? []).map((port) => {
        const ends = port.connected?.map((to) => `${sign[to.direction]}${to.vm}/${word(to)}`)
        return [`${name}/${word(port)}`, ends?.join() ?? 'not probed']
      }),
    ),
  )
}
