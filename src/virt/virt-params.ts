import { UsageError } from '../errors.ts'
import { checkKeys } from '../options.ts'
import type { VmSpec } from '../vm/spec.ts'
import { DISK_KEYS } from './disk-keys.ts'
import { newDraft } from './draft.ts'
import { type Key, MACHINE_KEYS } from './machine-keys.ts'
import { NET_KEYS } from './net-keys.ts'
import { Options, type VirtElement, type VirtParams } from './values.ts'

const KEYS: Record<string, Key> = { ...MACHINE_KEYS, ...DISK_KEYS, ...NET_KEYS }

/** What `virt_params` of DTS are here. */
export interface ConvertedVm {
  spec: VmSpec
  /** Milliseconds that the start may take, from `start: wait_seconds`. */
  startTimeoutMs?: number
  /** What is done in another way than in DTS, a sentence each. */
  notes: string[]
}

/**
 * The spec of a VM that DTS's `virt_params` describe. Every key and sub-option of DTS is honoured, said
 * to be done in another way, or refused; nothing is passed over.
 *
 * @throws UsageError for what is unknown, malformed or refused, naming what to use instead
 */
export function convertVirtParams(params: VirtParams, what = 'virt_params'): ConvertedVm {
  checkKeys(what, params, Object.keys(KEYS))
  const draft = newDraft()
  for (const [key, value] of Object.entries(params)) {
    const { options, read } = KEYS[key] as Key
    for (const [i, element] of elementsOf(`${what}: ${key}`, value).entries()) {
      read(new Options(`${what}: ${key}[${i}]`, element, options), draft)
    }
  }
  const { spec, guest, login, agent, startTimeoutMs, notes } = draft
  if (draft.nic) {
    throw new UsageError(`${what}: net: a NIC is connected to nothing`, {
      hint: 'behind type=nic comes type=user or type=tap',
    })
  }
  const { devices, disks, extraArgs, ...rest } = spec
  const isOwn = guest.disk !== undefined || guest.kernel !== undefined
  if (!isOwn && login.user !== undefined) {
    notes.push('login: the default guest asks for none; with a disk it is its login')
  }
  const does = isOwn
    ? 'vm.agent talks to the agent, and vm.cmd and vm.exec do what it was for'
    : 'vm.cmd and vm.exec do what it was for; with a disk it is vm.agent'
  notes.push(...agent.map((key) => `${key}: ${does}`))
  return {
    spec: {
      ...rest,
      ...(isOwn && { guest }),
      ...(isOwn && agent.length > 0 && { agent: true }),
      ...(isOwn &&
        login.user !== undefined && { login: { password: '', ...login, user: login.user } }),
      ...(devices.length > 0 && { devices }),
      ...(disks.length > 0 && { disks }),
      ...(extraArgs.length > 0 && { extraArgs }),
    },
    ...(startTimeoutMs !== undefined && { startTimeoutMs }),
    notes: [...new Set(notes)],
  }
}

function elementsOf(what: string, value: VirtParams[string]): readonly VirtElement[] {
  if (value === null || value === undefined) return []
  const list = Array.isArray(value) ? value : [value]
  for (const element of list) {
    if (typeof element === 'object' && element !== null) continue
    throw new UsageError(`${what}: ${JSON.stringify(element)} is not a table of options`, {
      hint: `a list of objects, as in { cpu: [{ model: 'host', number: '2' }] }`,
    })
  }
  return list
}
