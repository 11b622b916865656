import { type Disk, driveArgs } from './disks.ts'
import { optionValue, socketArgs } from './option-value.ts'

/** The built-in guest: its terminal is a virtio console, and its kernel has a serial line of its own. */
export interface BuiltInBoot {
  kernel: string
  initrd: string
  append: string
  root: string
}

/** A guest of the user's: all that it says comes over one serial line, which is its terminal. */
export interface ForeignBoot {
  /** What it boots from, or where there is a kernel, what that finds its root on. */
  disk?: Disk
  kernel?: string
  initrd?: string
  append?: string
  /** Our agent's program, to be fetched from a disk without a file system. */
  agent: string
}

export type Boot = BuiltInBoot | ForeignBoot

export interface GuestSockets {
  kernelLog: string
  agent: string
  /** Of the QEMU guest agent, where the guest is to have one. */
  guestAgent?: string
}

/** The device, and the chardev, of our agent's port. */
export const AGENT_ID = 'agent'

/** The device, and the chardev, of the QEMU guest agent's port. */
export const GUEST_AGENT_ID = 'qga'

/** The serial number of the disk that holds the agent's program. */
export const AGENT_DISK = 'vitest-dut-agent'

export function isBuiltIn(boot: Boot): boot is BuiltInBoot {
  return 'root' in boot
}

/** The kernel, where QEMU loads it. */
export function kernelArgs({ kernel, initrd, append }: Boot): string[] {
  const args = { kernel, initrd, append }
  return Object.entries(args).flatMap(([name, value]) => (value ? [`-${name}`, value] : []))
}

/** The serial line. */
export function serialArgs(boot: Boot, { kernelLog }: GuestSockets): string[] {
  const stdio = ['-chardev', 'stdio,id=console,signal=off']
  if (!isBuiltIn(boot)) return [...stdio, '-serial', 'chardev:console']
  return [...socketArgs('klog', kernelLog), '-serial', 'chardev:klog', ...stdio]
}

/** The virtio console, our agent's port, and that of the QEMU guest agent, which knows it by its name. */
export function virtioSerialArgs(boot: Boot, { agent, guestAgent }: GuestSockets): string[] {
  const port = `virtserialport,id=${GUEST_AGENT_ID},chardev=${GUEST_AGENT_ID}`
  return [
    ...['-device', 'virtio-serial-pci,id=serial0'],
    ...(isBuiltIn(boot) ? ['-device', 'virtconsole,chardev=console'] : []),
    ...socketArgs(AGENT_ID, agent),
    // QEMU tells by the device's id when the guest opens the port, and when it closes it.
    ...['-device', `virtserialport,id=${AGENT_ID},chardev=${AGENT_ID},name=vitest-dut.agent`],
    ...(guestAgent === undefined ? [] : socketArgs(GUEST_AGENT_ID, guestAgent)),
    ...(guestAgent === undefined ? [] : ['-device', `${port},name=org.qemu.guest_agent.0`]),
  ]
}

/** The disks that it is on. */
export function rootArgs(boot: Boot): string[] {
  if (isBuiltIn(boot)) return rawArgs('root', boot.root, 'vitest-dut-root')
  // 0 is taken where QEMU loads a kernel.
  const disk = boot.disk ? driveArgs(boot.disk, 'root', { bootindex: 1 }) : []
  return [...disk, ...rawArgs('agentdisk', boot.agent, AGENT_DISK)]
}

/** Read-only. */
function rawArgs(id: string, file: string, serial: string): string[] {
  return [
    ...['-drive', `if=none,id=${id},format=raw,readonly=on,file=${optionValue(file)}`],
    ...['-device', `virtio-blk-pci,drive=${id},serial=${serial}`],
  ]
}
