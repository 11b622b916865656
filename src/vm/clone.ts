import { exec } from '../console/exec.ts'
import { Shell } from '../console/shell.ts'
import { GuestError } from '../errors.ts'
import type { Guest } from '../image/guest.ts'
import type { GrantedLease } from '../lease/grant.ts'
import { plug } from '../qemu/plug.ts'
import { waitFor } from '../wait.ts'
import { type Booted, discard } from './boot.ts'
import type { VmSite } from './home.ts'
import { launch, type Machine } from './launch.ts'
import type { ResolvedSpec } from './spec.ts'
import { migrated, readTemplate, shellWord, type Template } from './template.ts'

interface CloneOptions {
  dir: string
  index: number
  lease: GrantedLease
  accel: 'kvm' | 'tcg'
  guest: Guest
  template: Template
  bootTimeoutMs: number
  signal?: AbortSignal
  onStage: (stage: string) => void
  onLaunched: (machine: Machine) => Promise<void>
}

/**
 * Restores a saved machine, gives it an identity of its own and plugs its devices in. Nothing is left
 * of it where that fails.
 */
export async function clone(
  site: VmSite,
  spec: ResolvedSpec,
  { template, guest, signal, onStage, onLaunched, bootTimeoutMs, ...options }: CloneOptions,
): Promise<Booted> {
  onStage('restore')
  const machine = await launch(site, spec, {
    ...{ ...options, kernel: guest, incoming: true, onStage: () => {} },
    memoryFile: { path: template.memory, share: false },
  })
  const shell = new Shell(machine.console)
  const restore = async () => {
    await restoreState(site, machine, template)
    await onLaunched(machine)
    await Promise.all([
      machine.agent.identify({ hostname: spec.name }),
      shell.adopt({ hostname: spec.name }),
    ])
    onStage('devices')
    await plugAll(machine, options.accel)
  }
  try {
    await waitFor(restore(), {
      timeoutMs: bootTimeoutMs,
      signal,
      onTimeout: (elapsedMs) =>
        new GuestError('the clone does not answer', { ...machine.where, elapsedMs }),
    })
  } catch (error) {
    await discard(machine)
    throw error
  }
  return { machine, shell }
}

async function restoreState(site: VmSite, machine: Machine, template: Template): Promise<void> {
  const { qmp, kernelLog } = machine
  await qmp.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'x-ignore-shared', state: true }],
  })
  await qmp.execute('migrate-incoming', { uri: `exec:cat ${shellWord(template.state)}` })
  await migrated(machine)
  // Had somebody removed the memory's file meanwhile, QEMU would have made an empty one.
  if ((await readTemplate(site.home.host, template.folder)) === undefined) {
    throw new GuestError('its template went away', machine.where)
  }
  kernelLog.continueFrom(template.kernelLog)
  await qmp.execute('cont')
}

/**
 * Plugs all devices in at once; the guest takes them one after another. Resolves when it has them all,
 * with its network interfaces in the order of the list.
 */
async function plugAll(machine: Machine, accel: 'kvm' | 'tcg'): Promise<void> {
  const { qmp, devices } = machine
  for (const [index, placed] of devices.entries()) {
    await plug(qmp, placed, { index, accel, bus: `slot${index}` })
  }
  if (devices.length === 0) return
  const macs = devices.map(({ mac }) => mac.toLowerCase())
  await exec(machine, `${AWAIT_NICS} ${macs.join(' ')}`, { check: true, timeout: PLUG_PATIENCE_MS })
}

const PLUG_PATIENCE_MS = 60_000

/**
 * Waits until the guest has a network interface with each of the addresses, and names them in that
 * order. In bash alone, for under emulation a program costs more than the look.
 */
const AWAIT_NICS = `
order=()
exec {never}<> <(:)
await() {
  local mac folder address number=0
  for mac; do
    while :; do
      for folder in /sys/class/net/*; do
        { read -r address <"$folder/address"; } 2>/dev/null && [[ $address == "$mac" ]] && break 2
      done
      read -r -t 0.002 -u "$never" _
    done
    order+=("\${folder##*/} eth$((number++))")
  done
  for pair in "\${order[@]}"; do
    read -r from to <<<"$pair"
    [[ $from == "$to" ]] || wrong=1
  done
  [[ \${wrong:-} ]] || return 0
  for pair in "\${order[@]}"; do ip link set dev "\${pair% *}" name "new-\${pair#* }"; done
  for pair in "\${order[@]}"; do ip link set dev "new-\${pair#* }" name "\${pair#* }"; done
}
await`
