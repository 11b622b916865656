import type { Login } from '../../console/login-prompt.ts'
import { UsageError } from '../../errors.ts'
import { checkInteger, checkKeys } from '../../options.ts'
import { needsSharedMemory } from '../../qemu/args.ts'
import type { Device } from '../../qemu/devices.ts'
import type { Disk } from '../../qemu/disks.ts'
import { resolveMachine } from '../../qemu/machine-kind.ts'
import { parseSize, type Size } from '../../units.ts'
import { type ForeignGuest, type GuestSpec, resolveGuest } from './custom-guest.ts'
import { type DiskSpec, resolveDisks } from './disks.ts'

export interface MemorySpec {
  size: Size
  /** Back the memory with the host's huge pages; `true` is their default size. */
  hugepages?: boolean | '2M' | '1G'
  /** Other processes can map it; vhost-user devices switch it on by themselves. */
  shared?: boolean
  /** Take it from this NUMA node of the host. */
  node?: number
}

export interface CpuSpec {
  count: number
  /** QEMU's `-cpu`; `host` under KVM and `max` under TCG where none is given. */
  model?: string
  /**
   * Where the virtual CPUs run, one to one: on these CPUs of the host, or `'auto'`, on whole free cores
   * of the memory's node. No other VM is given the same.
   */
  pin?: readonly number[] | 'auto'
  sockets?: number
  cores?: number
  threads?: number
}

/** What a VM is to be. Everything has a default. */
export interface VmSpec {
  /** `vm0`, `vm1`, … where none is given; unique on its DUT within the suite. */
  name?: string
  /** The built-in guest where none is given, or one of your own. */
  guest?: 'default' | GuestSpec
  /** For a guest of your own that asks who is there; the same as `guest.login`. */
  login?: Login
  /**
   * Gives a guest of your own the port of the QEMU guest agent, a service that its image has to have:
   * `vm.agent` talks to it. False by default.
   */
  agent?: boolean
  /** `'512M'` where none is given. */
  memory?: Size | MemorySpec
  /** 1 where none is given. */
  cpus?: number | CpuSpec
  /** `'auto'`: KVM where it really works, else TCG. */
  accel?: 'auto' | 'kvm' | 'tcg'
  /** QEMU's machine type; `q35` where none is given, `virt` with `qemu-system-aarch64`. */
  machine?: string
  /** Path of the emulator; the one of the machine where none is given: `qemu-system-x86_64`. */
  qemu?: string
  /** Made by `vhostUser`, `link`, `userNet`, `tap`, `vfio` and `raw`. The first NIC is the guest's eth0. */
  devices?: readonly Device[]
  /** Further disks; the guest's own root is none of them. */
  disks?: readonly DiskSpec[]
  /**
   * `'auto'`: from a template where its shape allows that, `'cold'`: from its kernel on, `'template'`:
   * an error where its shape does not allow it. `VITEST_DUT_BOOT` is the default where it is set.
   */
  boot?: 'auto' | 'cold' | 'template'
  /** Further QEMU arguments. */
  extraArgs?: readonly string[]
}

/** A spec with every default filled in. */
export interface ResolvedSpec {
  name: string
  guest: 'default' | ForeignGuest
  agent: boolean
  memory: { size: Size; hugepages: false | true | '2M' | '1G'; shared: boolean; node?: number }
  cpus: CpuSpec
  accel: 'auto' | 'kvm' | 'tcg'
  machine: string
  qemu: string
  devices: readonly Device[]
  disks: readonly Disk[]
  boot: 'auto' | 'cold' | 'template'
  extraArgs: readonly string[]
}

/** How to get into its guest. */
export function loginOf({ guest }: ResolvedSpec): Login | undefined {
  return guest === 'default' ? undefined : guest.login
}

const KEYS = [
  ...['name', 'guest', 'login', 'memory', 'cpus', 'accel', 'machine', 'qemu', 'devices', 'disks'],
  ...['agent', 'boot', 'extraArgs'],
]

/** Below this the default guest's kernel and its RAM overlay do not fit. */
const LEAST_MEMORY = '128M'

/**
 * A spec that was checked, with its defaults.
 *
 * @throws UsageError naming the option and what to write instead
 */
export function resolveSpec(spec: VmSpec, index: number): ResolvedSpec {
  const what = `vm${index}`
  checkKeys(what, spec, KEYS)
  const { name = what, accel = 'auto', devices = [], extraArgs = [] } = spec
  // It names a folder, so it is never `.` or `..`.
  if (!/^\w[\w.-]{0,31}$/.test(name)) {
    throw new UsageError(`${what}: ${JSON.stringify(name)} cannot be a VM's name`, {
      hint: 'up to 32 letters, digits, dots, dashes and underscores, no dot or dash first',
    })
  }
  const { machine, qemu } = resolveMachine(name, spec)
  const guest = resolveGuest(name, spec.guest ?? 'default', spec.login)
  const agent = resolveAgent(name, guest, spec.agent ?? false)
  if (!['auto', 'kvm', 'tcg'].includes(accel)) {
    throw new UsageError(`${name}: accel: ${JSON.stringify(accel)} is unknown`, {
      hint: `'auto', 'kvm' or 'tcg'`,
    })
  }
  const { boot = bootByDefault() } = spec
  if (!['auto', 'cold', 'template'].includes(boot)) {
    throw new UsageError(`${name}: boot: ${JSON.stringify(boot)} is unknown`, {
      hint: `'auto', 'cold' or 'template'`,
    })
  }
  if (!Array.isArray(devices) || devices.some((device) => typeof device?.kind !== 'string')) {
    throw new UsageError(`${name}: devices is not a list of devices`, {
      hint: `make them with link('lan'), vhostUser({ path }), userNet({ forward: [22] }) or raw(…)`,
    })
  }
  if (!Array.isArray(extraArgs) || extraArgs.some((arg) => typeof arg !== 'string')) {
    throw new UsageError(`${name}: extraArgs is not a list of strings`, {
      hint: `one entry for each argument: ['-device', 'edu']`,
    })
  }
  const disks = resolveDisks(name, spec.disks ?? [])
  const memory = resolveMemory(name, spec.memory ?? '512M', devices)
  const cpus = resolveCpus(name, spec.cpus ?? 1)
  return {
    ...{ name, guest, agent, memory, cpus, accel, machine, qemu },
    ...{ devices, disks, boot, extraArgs },
  }
}

function resolveAgent(name: string, guest: ResolvedSpec['guest'], agent: boolean): boolean {
  if (typeof agent !== 'boolean') {
    throw new UsageError(`${name}: agent: ${JSON.stringify(agent)} is neither true nor false`)
  }
  if (!agent || guest !== 'default') return agent
  throw new UsageError(`${name}: agent: the default guest has no QEMU guest agent`, {
    hint: 'vm.exec, vm.shutdown and vm.ports do there what it is for; guest: { disk } is an image that may have it',
  })
}

/** @throws UsageError for what it cannot be */
function bootByDefault(): ResolvedSpec['boot'] {
  const { VITEST_DUT_BOOT: wanted } = process.env
  if (!wanted || wanted === 'auto') return 'auto'
  if (wanted === 'cold') return 'cold'
  throw new UsageError(`VITEST_DUT_BOOT: ${JSON.stringify(wanted)} is unknown`, {
    hint: `'auto' or 'cold', for all VMs whose spec does not say`,
  })
}

function resolveMemory(name: string, given: Size | MemorySpec, devices: readonly Device[]) {
  const spec = typeof given === 'string' ? { size: given } : given
  checkKeys(`${name}: memory`, spec, ['size', 'hugepages', 'shared', 'node'])
  const { size, hugepages = false, node } = spec as MemorySpec
  if (parseSize(size, `${name}: memory`) < parseSize(LEAST_MEMORY)) {
    throw new UsageError(`${name}: memory: ${size} is too little for the guest`, {
      hint: `at least '${LEAST_MEMORY}'`,
    })
  }
  if (![true, false, '2M', '1G'].includes(hugepages)) {
    throw new UsageError(`${name}: memory.hugepages: ${JSON.stringify(hugepages)} is unknown`, {
      hint: `true, '2M' or '1G'`,
    })
  }
  if (node !== undefined) checkInteger(`${name}: memory.node`, node, 0, 1023)
  const needsShared = needsSharedMemory(devices)
  const { shared = needsShared } = spec as MemorySpec
  if (needsShared && !shared && hugepages === false) {
    throw new UsageError(
      `${name}: memory.shared is false, but a vhost-user device needs it shared`,
      {
        hint: 'leave memory.shared out',
      },
    )
  }
  return { size, hugepages, shared, ...(node === undefined ? {} : { node }) }
}

function resolveCpus(name: string, given: number | CpuSpec): CpuSpec {
  const spec = typeof given === 'number' ? { count: given } : given
  checkKeys(`${name}: cpus`, spec, ['count', 'model', 'pin', 'sockets', 'cores', 'threads'])
  checkInteger(`${name}: cpus`, spec.count, 1, 255)
  checkPin(name, spec)
  return spec
}

function checkPin(name: string, { pin, count }: CpuSpec): void {
  if (pin === undefined || pin === 'auto') return
  const sound = Array.isArray(pin) && pin.every((cpu) => Number.isInteger(cpu) && cpu >= 0)
  if (sound && pin.length === count) return
  throw new UsageError(
    `${name}: cpus.pin: ${JSON.stringify(pin)} is not a list of ${count} CPUs of the host`,
    { hint: `one for each virtual CPU, like [2, 3], or 'auto'` },
  )
}
