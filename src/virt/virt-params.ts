import { UsageError } from '../errors.ts'
import { checkKeys } from '../options.ts'
import type { VmSpec } from '../vm/spec/spec.ts'
import { DISK_KEYS } from './disk-keys.ts'
import { newDraft } from './draft.ts'
import { type Key, MACHINE_KEYS } from './machine-keys.ts'
import { NET_KEYS } from './net-keys.ts'
import { Options, type VirtElement, type VirtParams } from './values.ts'

/** All that DTS could be told of a VM. */
export const KEYS: Record<string, Key> = { ...MACHINE_KEYS, ...DISK_KEYS, ...NET_KEYS }

/** What `virt_params` of DTS are here. */
export interface ConvertedVm {
  spec: VmSpec
  /** Milliseconds that the start may take, from `start: wait_seconds`. */
  startTimeoutMs?: number
  /** What is done in another way than in DTS, a sentence each. */
  notes: string[]
}

/** Why a sub-option of an element is none, for each of which that is so. */
function unknownOptions(what: string, element: VirtElement, { options, instead = {} }: Key) {
  return Object.keys(element).flatMap((name) => {
    if (options.includes(name)) return []
    const hint = Object.hasOwn(instead, name) ? instead[name] : undefined
    if (hint !== undefined) return [new UsageError(`${what}: ${name} is not honoured`, { hint })]
    return attempt(() => checkKeys(what, { [name]: '' }, options))
  })
}

/** Returns the UsageError of an action that throws one. */
function attempt(action: () => void): UsageError[] {
  try {
    action()
    return []
  } catch (error) {
    if (error instanceof UsageError) return [error]
    throw error
  }
}

/**
 * The spec of a VM that DTS's `virt_params` describe. Every key and sub-option of DTS is honoured, said
 * to be done in another way, or refused; nothing is passed over.
 *
 * @throws UsageError for all that is unknown, malformed or refused, naming what to use instead
 */
export function convertVirtParams(params: VirtParams, what = 'virt_params'): ConvertedVm {
  const draft = newDraft()
  const wrong = Object.entries(params).flatMap(([name, value]) =>
    attempt(() => {
      checkKeys(what, { [name]: value }, Object.keys(KEYS))
      const key = KEYS[name] as Key
      const refused = elementsOf(`${what}: ${name}`, value).flatMap((element, i) => {
        const place = `${what}: ${name}[${i}]`
        const unknown = unknownOptions(place, element, key)
        if (unknown.length > 0) return unknown
        return attempt(() => key.read(new Options(place, element), draft))
      })
      throwAll(refused)
    }),
  )
  throwAll(wrong)
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

function throwAll(errors: readonly UsageError[]): void {
  if (errors.length === 1) throw errors[0]
  if (errors.length > 1) throw new UsageError(errors.map(({ message }) => message).join('\n'))
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
