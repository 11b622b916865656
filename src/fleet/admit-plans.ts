import type { Host } from '../host/host.ts'
import { type AdmitOptions, admit } from '../lease/admission/admit.ts'
import type { GrantedLease } from '../lease/admission/grant.ts'
import type { Need } from '../lease/resources/needs.ts'

/** What is to be started on a DUT and has to be promised first. */
export interface Applying {
  host: Host
  needs: readonly Need[]
  options: AdmitOptions
}

/**
 * What all of them need, of all their hosts, or nothing: host by host, in the order of their names, so
 * that two fleets which share several hosts never wait for each other. DUTs on one host are one
 * applicant.
 *
 * @returns the leases of each, in the order of its needs
 */
export async function admitPlans(
  applying: readonly Applying[],
  { signal }: { signal?: AbortSignal } = {},
): Promise<GrantedLease[][]> {
  const hosts = [...new Set(applying.map(({ host }) => host))]
  hosts.sort((a, b) => (a.name < b.name ? -1 : 1))
  const granted = new Map<Need, GrantedLease>()
  try {
    for (const host of hosts) {
      const here = applying.filter((one) => one.host === host)
      const needs = here.flatMap((one) => one.needs)
      const leases = await admit(host, needs, { ...here[0]?.options, signal })
      for (const [i, need] of needs.entries()) granted.set(need, leases[i] as GrantedLease)
    }
  } catch (error) {
    await Promise.allSettled([...granted.values()].map((lease) => lease.release()))
    throw error
  }
  return applying.map(({ needs }) => needs.map((need) => granted.get(need) as GrantedLease))
}
