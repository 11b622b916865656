import { UsageError } from '../errors.ts'
import type { Dut } from '../fleet/dut.ts'
import { checkInteger, checkKeys, nearestTo } from '../options.ts'
import type { VirtParams } from '../virt/values.ts'
import type { Vm } from '../vm/vm.ts'

/** The actions that `MultipleVM` knows. */
export type Action = 'start' | 'stop' | 'cmd' | 'migration'

interface Of {
  /** The VM's name. */
  name: string
  /** Index into `duts`; 0 where none is given. */
  dut_id?: number
  dutId?: number
}

export interface StartConfig extends Of {
  /** Look what the VM's NICs are wired to; `False` where none is given. */
  autodetect_topo?: boolean
  autodetectTopo?: boolean
  /** A file whose section has the VM's name, or suite and VM as DTS names them; or `virt_params`. */
  virt_config?: VirtConfigArgument
  virtConfig?: VirtConfigArgument
  virt_params?: VirtParams
  virtParams?: VirtParams
}

export type VirtConfigArgument = string | { suite_name: string; vm_name: string }

export interface CmdConfig extends Of {
  commands: readonly string[]
  /** One for each command; `''` where nothing is expected: it ends when the shell is back. */
  expects: readonly (string | RegExp)[]
  /** Seconds, one for each command. */
  timeouts: readonly number[]
  vm_dut?: Vm
  vmDut?: Vm
}

export type StopConfig = Of

export interface MigrationConfig extends Of {
  vm_obj?: Vm
  vmObj?: Vm
  remote_ip?: string
  remoteIp?: string
  migrate_port?: number
  migratePort?: number
}

export interface Configs {
  start: StartConfig
  stop: StopConfig
  cmd: CmdConfig
  migration: MigrationConfig
}

/** A task that was checked, its arguments by DTS's names. */
export interface Task {
  action: Action
  name: string
  dutId: number
  args: Record<string, unknown>
}

const ARGUMENTS: Record<Action, readonly string[]> = {
  start: ['name', 'dut_id', 'autodetect_topo', 'virt_config', 'virt_params'],
  stop: ['name', 'dut_id'],
  cmd: ['name', 'dut_id', 'vm_dut', 'commands', 'expects', 'timeouts'],
  migration: ['name', 'dut_id', 'vm_obj', 'remote_ip', 'migrate_port'],
}

/**
 * Checks one task's arguments, whichever way they are spelt.
 *
 * @throws UsageError naming the argument and what to write instead
 */
export function readTask(action: Action, config: object, duts: readonly Dut[]): Task {
  const known = Object.hasOwn(ARGUMENTS, action) ? ARGUMENTS[action] : undefined
  if (known === undefined) {
    const nearest = nearestTo(String(action), Object.keys(ARGUMENTS))
    throw new UsageError(`MultipleVM: the action ${JSON.stringify(action)} is unknown`, {
      hint: nearest ? `did you mean '${nearest}'?` : `start, stop, cmd or migration`,
    })
  }
  checkKeys(`MultipleVM: ${action}`, config, [...known, ...known.map(camelCase)])
  const args: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(config)) {
    const name = known.find((one) => one === key || camelCase(one) === key) as string
    if (value === null || value === undefined) continue
    if (name in args) throw new UsageError(`MultipleVM: ${action}: ${name} is there twice`)
    args[name] = value
  }
  const { name, dut_id: dutId = 0 } = args
  if (typeof name !== 'string' || name === '') {
    throw new UsageError(`MultipleVM: ${action}: name is missing`, { hint: `name: 'vm0'` })
  }
  checkInteger(`MultipleVM: ${action}: dut_id`, dutId, 0, duts.length - 1)
  const task = { action, name, dutId: dutId as number, args }
  if (action === 'cmd') checkCmd(task)
  if (action === 'start') checkStart(task)
  return task
}

function checkStart({ name, args }: Task): void {
  const { virt_config, virt_params, autodetect_topo: topo = false } = args
  if (typeof topo !== 'boolean') {
    throw new UsageError(`MultipleVM: start ${name}: autodetect_topo is neither true nor false`)
  }
  if ((virt_config === undefined) === (virt_params === undefined)) {
    throw new UsageError(`MultipleVM: start ${name}: give one of virt_config and virt_params`, {
      hint: `virt_params: { mem: [{ size: '512', hugepage: 'no' }] }`,
    })
  }
}

function checkCmd({ name, args }: Task): void {
  const lists = ['commands', 'expects', 'timeouts'].map((key) => {
    const list = args[key]
    if (Array.isArray(list)) return list
    throw new UsageError(`MultipleVM: cmd ${name}: ${key} is not a list`, {
      hint: `one entry for each command: expects: [''] where nothing is expected`,
    })
  })
  const [commands = [], expects = [], timeouts = []] = lists
  if (expects.length !== commands.length || timeouts.length !== commands.length) {
    throw new UsageError(
      `MultipleVM: cmd ${name}: ${commands.length} commands, ${expects.length} expects and ` +
        `${timeouts.length} timeouts`,
      { hint: `one of each for each command; '' where nothing is expected` },
    )
  }
  const isText = (text: unknown) => typeof text === 'string'
  if (!commands.every(isText) || !expects.every((e) => isText(e) || e instanceof RegExp)) {
    throw new UsageError(`MultipleVM: cmd ${name}: a command or an expect is no text`, {
      hint: `'' where nothing is expected`,
    })
  }
  for (const seconds of timeouts) {
    if (typeof seconds === 'number' && seconds > 0 && seconds <= 86_400) continue
    throw new UsageError(
      `MultipleVM: cmd ${name}: timeouts: ${JSON.stringify(seconds)} is not a number of seconds`,
    )
  }
}

function camelCase(name: string): string {
  return name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase())
}
