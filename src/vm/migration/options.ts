import { UsageError } from '../../errors.ts'
import { checkKeys } from '../../options.ts'
import type { PlacedDevice } from '../../qemu/args.ts'
import type { Device } from '../../qemu/devices.ts'
import { goesAlong } from '../../qemu/memory-args.ts'
import { deviceId } from '../../qemu/plug.ts'
import { type Duration, parseDuration, parseSize, type Size } from '../../units.ts'
import type { VmHome } from '../instance/host-services.ts'
import type { ResolvedSpec } from '../spec/spec.ts'

/** How far a migration is. */
export interface MigrationProgress {
  /** QEMU's word: `'setup'`, `'active'`, `'pre-switchover'`, … */
  status: string
  /** Bytes of the guest's memory; `remaining` goes up again while the guest writes. */
  transferred: number
  remaining: number
  total: number
  /** How many times QEMU has looked for pages that the guest wrote to meanwhile. */
  passes: number
}

export interface MigrateOptions {
  /** The VM's own DUT, the only one so far. */
  to?: VmHome
  /**
   * What devices are connected to over there, by what `vm.unplug` takes: `{ nic0: vhostUser({ path }) }`;
   * the same as here for those that are left out.
   */
  devices?: Record<string, Device>
  /** How memory goes over: a unix socket, by default, or TCP on the loopback interface. */
  transport?: 'unix' | 'tcp'
  /** For all of it but the wait for what the DUT has to promise; `'120s'` where none is given. */
  timeout?: Duration
  /** How long the guest may stand still, as QEMU estimates it; `'300ms'` where none is given. */
  downtimeLimit?: Duration
  /** Bytes a second, like `'50M'`; no limit where none is given. */
  bandwidth?: Size
  onProgress?: (progress: MigrationProgress) => void
  /** Takes the migration back; the VM goes on where it was. */
  signal?: AbortSignal
}

/** What a migration was like. */
export interface Migration {
  /** Milliseconds from the start of the second QEMU to the end of the first one. */
  totalMs: number
  /** Milliseconds that the guest stood still. */
  downtimeMs: number
  /** That went over. */
  bytes: number
  passes: number
}

/** Checked, with defaults. */
export interface MigrateWish {
  devices: Record<string, Device>
  transport: 'unix' | 'tcp'
  timeoutMs: number
  pace: { downtimeMs: number; bandwidth?: number }
  onProgress: (progress: MigrationProgress) => void
  signal: AbortSignal | undefined
}

const KEYS = [
  ...['to', 'devices', 'transport', 'timeout', 'downtimeLimit', 'bandwidth', 'onProgress'],
  'signal',
]
const TIMEOUT = '120s'
const DOWNTIME = '300ms'
/** QEMU's own. */
const LONGEST_DOWNTIME_MS = 2_000_000

/**
 * @param placed the devices that the VM has now, by their numbers
 * @throws UsageError for a bad option, or a VM that cannot be migrated
 */
export function resolveMigrate(
  spec: ResolvedSpec,
  options: MigrateOptions,
  {
    home,
    placed,
    accel,
  }: { home: VmHome; placed: ReadonlyMap<number, PlacedDevice>; accel: 'kvm' | 'tcg' },
): MigrateWish {
  const what = `${spec.name}: migrate`
  checkKeys(what, options, KEYS)
  const { to = home, devices = {}, transport = 'unix', timeout = TIMEOUT, signal } = options
  const { downtimeLimit = DOWNTIME, bandwidth, onProgress = () => {} } = options
  if (to !== home) {
    throw new UsageError(`${what}: to: ${to?.name ?? to} is another DUT than ${home.name}`, {
      hint: 'this version migrates to a second QEMU on the same DUT: leave to out',
    })
  }
  if (transport !== 'unix' && transport !== 'tcp') {
    throw new UsageError(`${what}: transport: ${JSON.stringify(transport)} is unknown`, {
      hint: `'unix' or 'tcp'`,
    })
  }
  if (typeof onProgress !== 'function') {
    throw new UsageError(`${what}: onProgress is not a function`)
  }
  const downtimeMs = parseDuration(downtimeLimit, `${what}: downtimeLimit`)
  if (downtimeMs > LONGEST_DOWNTIME_MS) {
    throw new UsageError(`${what}: downtimeLimit: ${downtimeLimit} is more than QEMU takes: 2000 s`)
  }
  checkDevices(what, devices, placed)
  if (!goesAlong(spec.memory, accel)) {
    throw new UsageError(`${what}: QEMU loses what is written to huge pages meanwhile under TCG`, {
      hint: 'leave memory.hugepages out',
    })
  }
  const reason = whyNot(spec, placed, devices)
  if (reason !== undefined) throw new UsageError(`${what}: ${reason[0]}`, { hint: reason[1] })
  return {
    ...{ devices, transport, timeoutMs: parseDuration(timeout, `${what}: timeout`) },
    pace: {
      downtimeMs: Math.round(downtimeMs),
      ...(bandwidth !== undefined && { bandwidth: parseSize(bandwidth, `${what}: bandwidth`) }),
    },
    ...{ onProgress, signal },
  }
}

function checkDevices(
  what: string,
  devices: Record<string, Device>,
  placed: ReadonlyMap<number, PlacedDevice>,
): void {
  const here = new Map([...placed].map(([number, { device }]) => [deviceId(number), device]))
  checkKeys(`${what}: devices`, devices, [...here.keys()])
  for (const [id, device] of Object.entries(devices)) {
    const before = here.get(id)
    if (before === undefined || looks(device) === looks(before)) continue
    throw new UsageError(`${what}: devices: ${id} would not be the device that the guest has`, {
      hint: `the same function with the same queues and properties: only what it is connected to changes`,
    })
  }
}

/** Of a device, what the guest sees, beside an address that is not given. */
function looks(device: Device | undefined): string {
  if (device?.kind === undefined) return ''
  const { kind } = device
  const queues = kind === 'vhost-user' ? (device.queues ?? 1) : 0
  const properties = 'properties' in device ? (device.properties ?? {}) : {}
  const forwards = kind === 'user-net' ? device.forwards : []
  return JSON.stringify([kind, queues, Object.entries(properties).sort(), forwards])
}

/** Why such a VM cannot be migrated, and what can be done about it. */
function whyNot(
  { guest: own, disks, cpus, devices: all }: ResolvedSpec,
  placed: ReadonlyMap<number, PlacedDevice>,
  devices: Record<string, Device>,
): [reason: string, hint: string] | undefined {
  for (const [number, { device: before }] of placed) {
    const id = deviceId(number)
    const device = devices[id] ?? before
    if (device.kind === 'vfio') {
      return [
        `${id} is a device of the host, which stays there`,
        `vm.unplug('${id}') first, and plug it in again afterwards`,
      ]
    }
    if (device.kind === 'tap' && device.name !== undefined && !(id in devices)) {
      return [
        `${id} has the tap ${device.name}, which is one QEMU's at a time`,
        `name another one for over there: devices: { ${id}: tap({ name: '…' }) }`,
      ]
    }
    if (device.kind === 'vhost-user' && device.server && !(id in devices)) {
      return [
        `${id} makes the socket of its backend, which is connected to one QEMU at a time`,
        `name another one for over there: devices: { ${id}: vhostUser({ path: '…', server: true }) }`,
      ]
    }
  }
  if (all.some(({ kind }) => kind === 'virtio-crypto')) {
    return ['QEMU cannot move a crypto device', 'leave virtioCrypto(…) out']
  }
  if (own !== 'default' && own.disk) {
    return [
      "what was written to the guest's own disk is in a file of this QEMU alone",
      'this version migrates the default guest',
    ]
  }
  if (disks.some(({ readonly, snapshot }) => snapshot && !readonly)) {
    return [
      'what was written to a disk with snapshot: true is in a file of this QEMU alone',
      'have readonly: true or snapshot: false for that disk',
    ]
  }
  if (disks.some(({ bus }) => bus === 'nvme')) {
    return ['a disk at an nvme bus cannot go along', `give it bus: 'virtio' or 'scsi'`]
  }
  if (Array.isArray(cpus.pin)) {
    return ['its CPUs of the host are its own, and two QEMUs would need them', `cpus.pin: 'auto'`]
  }
  return undefined
}
