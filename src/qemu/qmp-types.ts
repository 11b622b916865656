/** The part of QEMU's QAPI schema (https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html) that
 * is used here. Everything else can be called too, with unknown types. Integers beyond 2^53 lose
 * precision, as JSON numbers do in JavaScript. */

export type RunState =
  | 'running'
  | 'paused'
  | 'prelaunch'
  | 'inmigrate'
  | 'postmigrate'
  | 'finish-migrate'
  | 'restore-vm'
  | 'save-vm'
  | 'shutdown'
  | 'suspended'
  | 'watchdog'
  | 'guest-panicked'
  | 'internal-error'
  | 'io-error'
  | 'debug'
  | 'colo'

export type MigrationStatus =
  | 'none'
  | 'setup'
  | 'cancelling'
  | 'cancelled'
  | 'active'
  | 'pre-switchover'
  | 'device'
  | 'postcopy-active'
  | 'postcopy-paused'
  | 'postcopy-recover'
  | 'wait-unplug'
  | 'completed'
  | 'failed'
  | 'colo'

export interface PciDevice {
  bus: number
  slot: number
  function: number
  class_info: { desc?: string; class: number }
  id: { device: number; vendor: number; 'subsystem-vendor'?: number; subsystem?: number }
  irq?: number
  irq_pin: number
  qdev_id: string
  pci_bridge?: { bus: { number: number; secondary: number }; devices?: PciDevice[] }
  regions: { bar: number; type: 'io' | 'memory'; address: number; size: number }[]
}

export interface CpuFast {
  'cpu-index': number
  'qom-path': string
  'thread-id': number
  props?: Record<string, number>
  target: string
}

export interface QemuVersion {
  qemu: { major: number; minor: number; micro: number }
  package: string
}

export interface QomProperty {
  name: string
  type: string
  description?: string
}

export interface BlockDevice {
  device: string
  qdev?: string
  inserted?: { 'node-name'?: string; drv: string; ro: boolean; file: string }
}

export interface MigrationInfo {
  status?: MigrationStatus
  'error-desc'?: string
  'total-time'?: number
  downtime?: number
  /** Bytes. */
  ram?: { transferred: number; remaining: number; total: number; 'dirty-sync-count': number }
}

/** Not from the schema alone: members that depend on the driver, backend or type are left open. */
type Open<T> = T & Record<string, unknown>
type Nothing = Record<string, never>
type Call<Args, Return = Nothing> = { args: Args; return: Return }

/** Arguments and results of the commands used here. */
export interface QmpCommands {
  qmp_capabilities: Call<{ enable?: string[] } | undefined>
  'snapshot-save': Call<{ 'job-id': string; tag: string; vmstate: string; devices: string[] }>
  'query-block': Call<undefined, BlockDevice[]>
  'blockdev-add': Call<Open<{ driver: string; 'node-name': string }>>
  'query-jobs': Call<undefined, { id: string; type: string; status: string; error?: string }[]>
  'job-dismiss': Call<{ id: string }>
  'query-version': Call<undefined, QemuVersion>
  'query-status': Call<undefined, { status: RunState; running: boolean }>
  'query-pci': Call<undefined, { bus: number; devices: PciDevice[] }[]>
  'query-cpus-fast': Call<undefined, CpuFast[]>
  'query-chardev': Call<undefined, { label: string; filename: string; 'frontend-open': boolean }[]>
  'query-kvm': Call<undefined, { enabled: boolean; present: boolean }>
  'query-commands': Call<undefined, { name: string }[]>
  stop: Call<undefined>
  cont: Call<undefined>
  system_reset: Call<undefined>
  system_powerdown: Call<undefined>
  quit: Call<undefined>
  device_add: Call<Open<{ driver: string; id?: string; bus?: string }>>
  device_del: Call<{ id: string }>
  netdev_add: Call<Open<{ type: string; id: string }>>
  netdev_del: Call<{ id: string }>
  'chardev-add': Call<{ id: string; backend: { type: string; data: object } }, { pty?: string }>
  'chardev-remove': Call<{ id: string }>
  migrate: Call<Open<{ uri?: string }>>
  'migrate-incoming': Call<Open<{ uri?: string }>>
  'migrate-set-capabilities': Call<{ capabilities: { capability: string; state: boolean }[] }>
  'migrate-set-parameters': Call<Record<string, unknown>>
  migrate_cancel: Call<undefined>
  'migrate-continue': Call<{ state: MigrationStatus }>
  'set-action': Call<{ reboot?: 'reset' | 'shutdown' }>
  'query-migrate': Call<undefined, MigrationInfo>
  'object-add': Call<Open<{ 'qom-type': string; id: string }>>
  'object-del': Call<{ id: string }>
  'qom-get': Call<{ path: string; property: string }, unknown>
  'qom-set': Call<{ path: string; property: string; value: unknown }>
  'qom-list': Call<{ path: string }, QomProperty[]>
  'human-monitor-command': Call<{ 'command-line': string; 'cpu-index'?: number }, string>
}

/** Data of the events used here. */
export interface QmpEvents {
  STOP: undefined
  RESUME: undefined
  SUSPEND: undefined
  WAKEUP: undefined
  BLOCK_IO_ERROR: {
    /** Name of the drive; empty where QEMU knows it by its device only. */
    device: string
    'qom-path'?: string
    'node-name'?: string
    operation: 'read' | 'write'
    action: 'ignore' | 'report' | 'stop'
    nospace?: boolean
    /** The host's words. */
    reason: string
  }
  RESET: { guest: boolean; reason: string }
  POWERDOWN: undefined
  SHUTDOWN: { guest: boolean; reason: string }
  GUEST_PANICKED: { action: string; info?: Record<string, unknown> }
  GUEST_CRASHLOADED: { action: string; info?: Record<string, unknown> }
  DEVICE_DELETED: { device?: string; path: string }
  DEVICE_UNPLUG_GUEST_ERROR: { device?: string; path: string }
  MIGRATION: { status: MigrationStatus }
  VSERPORT_CHANGE: { id: string; open: boolean }
  NETDEV_STREAM_CONNECTED: { 'netdev-id': string; addr: Record<string, unknown> }
  NETDEV_STREAM_DISCONNECTED: { 'netdev-id': string }
}

// The intersection keeps the editor's list of known names for a type that takes any string.
type AnyName = string & {}
export type CommandName = keyof QmpCommands | AnyName
export type EventName = keyof QmpEvents | AnyName

export type ArgsOf<C> = C extends keyof QmpCommands
  ? QmpCommands[C]['args']
  : Record<string, unknown> | undefined
export type ReturnOf<C> = C extends keyof QmpCommands ? QmpCommands[C]['return'] : unknown

export interface QmpEvent<N extends EventName = EventName> {
  event: N
  data: N extends keyof QmpEvents ? QmpEvents[N] : Record<string, unknown> | undefined
  /** The host's clock when it happened. */
  timestamp: { seconds: number; microseconds: number }
}
