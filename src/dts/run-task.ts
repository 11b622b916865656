import { AbortController } from '../abort.ts'
import { GuestError, UsageError } from '../errors.ts'
import type { Dut } from '../fleet/dut.ts'
import type { VirtParams } from '../virt/values.ts'
import { readVirtConfig, suiteConfig } from '../virt/virt-config.ts'
import { convertVirtParams } from '../virt/virt-params.ts'
import type { Migration } from '../vm/migration/options.ts'
import type { Port } from '../vm/network/ports.ts'
import type { VmSpec } from '../vm/spec/spec.ts'
import type { Vm } from '../vm/vm.ts'
import { waitFor } from '../wait.ts'
import type { Task, VirtConfigArgument } from './tasks.ts'

/** What a task gives, beside what all results have. */
export interface Outcome {
  /** The VM; `vm_obj` and `vm_dut` are DTS's names of it. */
  vm?: Vm
  vm_obj?: Vm
  vm_dut?: Vm
  /** `start` found the VM running. */
  attached?: boolean
  /** `start` with `autodetect_topo`. */
  ports?: Port[]
  /** `start`: what is done in another way than in DTS. */
  notes?: string[]
  /** `cmd`: what each command printed; those up to the one that failed. */
  outputs?: string[]
  migration?: Migration
}

/** Does one task; what it has so far is in `outcome` even where it fails. */
export async function runTask(task: Task, dut: Dut, outcome: Outcome): Promise<void> {
  if (task.action === 'start') return start(task, dut, outcome)
  const vm = (task.args.vm_dut ?? task.args.vm_obj ?? find(dut, task.name)) as Vm | undefined
  if (vm === undefined) {
    const names = dut.vms.map(({ name }) => name).join(', ')
    throw new UsageError(`${dut.name} has no VM ${JSON.stringify(task.name)}`, {
      hint: names ? `it has: ${names}` : `start it first: addParallelTask('start', …)`,
    })
  }
  name(outcome, vm)
  if (task.action === 'stop') await dut.stop(vm)
  else if (task.action === 'cmd') await cmd(task, vm, outcome)
  else outcome.migration = await migrate(task, vm)
}

async function start({ name: vmName, args }: Task, dut: Dut, outcome: Outcome): Promise<void> {
  const params = (args.virt_params ??
    (await paramsOf(vmName, args.virt_config as VirtConfigArgument))) as VirtParams
  const { spec, startTimeoutMs, notes } = convertVirtParams(params, vmName)
  outcome.notes = notes
  const running = find(dut, vmName)
  outcome.attached = running !== undefined
  const vm = running ?? (await startInTime(dut, { ...spec, name: vmName }, startTimeoutMs))
  name(outcome, vm)
}

/** @throws GuestError where it takes longer than that; nothing is left of it then */
async function startInTime(dut: Dut, spec: VmSpec, timeoutMs?: number): Promise<Vm> {
  const stop = new AbortController()
  const starting = dut.startAll([spec], { signal: stop.signal })
  const [vm] = await waitFor(starting, {
    timeoutMs,
    onTimeout: (elapsedMs) => {
      const hint = 'start: wait_seconds says how long it may take'
      const where = { vm: spec.name, dut: dut.name, elapsedMs, hint }
      const late = new GuestError('the VM did not start in time', where)
      stop.abort(late)
      return late
    },
  }).catch(async (error) => {
    const ready = await starting.catch(() => []) // in the very moment in which its time was over
    await Promise.all(ready.map((vm) => dut.stop(vm)))
    throw error
  })
  return vm as Vm
}

function paramsOf(vmName: string, config: VirtConfigArgument): Promise<VirtParams> {
  if (typeof config === 'string') return readVirtConfig({ file: config, vm: vmName })
  const { suite_name: suite, vm_name: vm } = config
  if (typeof suite !== 'string' || typeof vm !== 'string') {
    throw new UsageError('virt_config is neither a file nor { suite_name, vm_name }')
  }
  return readVirtConfig({ ...suiteConfig(suite), vm })
}

async function cmd({ args }: Task, vm: Vm, outcome: Outcome): Promise<void> {
  const { commands, expects, timeouts } = args as {
    commands: string[]
    expects: (string | RegExp)[]
    timeouts: number[]
  }
  outcome.outputs = []
  for (const [i, command] of commands.entries()) {
    const { output } = await vm.cmd(command, expects[i], (timeouts[i] as number) * 1000)
    outcome.outputs.push(output)
  }
}

function migrate({ args }: Task, vm: Vm): Promise<Migration> {
  const { remote_ip: ip, migrate_port: port } = args
  if (ip !== undefined && !['127.0.0.1', 'localhost', '::1'].includes(String(ip))) {
    throw new UsageError(`remote_ip: ${JSON.stringify(ip)} is another machine`, {
      hint: 'a VM moves to a second QEMU on its DUT: leave remote_ip out',
    })
  }
  // The port is one that nobody else has, rather than the one that is named.
  return vm.migrate({ transport: port === undefined ? 'unix' : 'tcp' })
}

function find(dut: Dut, vmName: string): Vm | undefined {
  return dut.vms.find(({ name, state }) => name === vmName && state !== 'stopped')
}

function name(outcome: Outcome, vm: Vm): void {
  Object.assign(outcome, { vm, vm_obj: vm, vm_dut: vm })
}
