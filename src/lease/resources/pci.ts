import { basename } from 'node:path'
import { AbortController } from '../../abort.ts'
import { firstLine, InfrastructureError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import { poll, waitFor } from '../../wait.ts'
import { hostUse } from './pci-use.ts'

/** A PCI device of a host, and how it was before it was handed to a guest. */
export interface BoundDevice {
  /** With its domain: `0000:03:00.0`. */
  address: string
  /** The driver that had it; undefined where none had. */
  driver?: string
  /** What its `driver_override` named, where it did. */
  override?: string
}

/** The driver that hands devices to QEMU. */
const VFIO = 'vfio-pci'
/** Drivers that never touch the device: what they have does not keep its IOMMU group from a guest. */
const IDLE = [VFIO, 'pci-stub', 'pcieport']
/** A driver lets go of its device in milliseconds; one with firmware to stop may need seconds. */
const PATIENCE_MS = 60_000

/**
 * Whether the device can be handed to vfio-pci, and how it is now. Nothing is changed.
 *
 * @param sysfs where the host has its sysfs
 * @param along addresses of devices that go to the same guest, for they may share its IOMMU group
 * @throws InfrastructureError where there is no such device, the host itself uses it, it has no IOMMU,
 *   the host uses others of its IOMMU group, or vfio-pci is not loaded
 */
export async function inspectPci(
  host: Host,
  address: string,
  sysfs = '/sys',
  along: readonly string[] = [],
): Promise<BoundDevice> {
  const refuse = (message: string, hint: string) =>
    new InfrastructureError(message, { dut: host.name, hint })
  const at = folderOf(address, sysfs)
  const device = await realPath(host, at)
  if (device === undefined) {
    throw refuse(`there is no PCI device ${address}`, 'lspci -D shows what is there')
  }
  const use = await hostUse(host, device, sysfs)
  if (use !== undefined) {
    throw refuse(
      `the host itself uses ${address}: ${use}`,
      'a guest would take it away: name another device, or let the host stop using it first',
    )
  }
  const others = await groupOf(host, at)
  if (!others.includes(address)) {
    throw refuse(
      `${address} cannot be handed to a guest: it is in no IOMMU group`,
      'switch on VT-d or AMD-Vi in the firmware, and on Intel boot with intel_iommu=on',
    )
  }
  const busy: string[] = []
  for (const other of others) {
    if (other === address || along.includes(other)) continue
    const user = await driverOf(host, folderOf(other, sysfs))
    if (user !== undefined && !IDLE.includes(user)) busy.push(`${other} (${user})`)
  }
  if (busy.length > 0) {
    throw refuse(
      `${address} cannot be handed to a guest alone: the host uses ${busy.join(', ')} of its IOMMU group`,
      'give the same VM all of them, or take them from their drivers: echo ADDRESS > ' +
        '/sys/bus/pci/devices/ADDRESS/driver/unbind',
    )
  }
  if ((await realPath(host, `${sysfs}/bus/pci/drivers/${VFIO}`)) === undefined) {
    throw refuse(`the driver ${VFIO} is not loaded`, `modprobe ${VFIO}`)
  }
  const driver = await driverOf(host, at)
  const override = await overrideOf(host, at)
  return { address, ...(driver && { driver }), ...(override && { override }) }
}

/**
 * Takes the device from its driver and hands it to vfio-pci; one that vfio-pci had already is left as
 * it is. Where that fails, `giveBackPci` undoes what was done.
 *
 * @throws InfrastructureError where it is not allowed, or vfio-pci does not take it
 */
export async function bindVfio(
  host: Host,
  { address, driver }: BoundDevice,
  sysfs = '/sys',
): Promise<void> {
  if (driver === VFIO) return
  const at = folderOf(address, sysfs)
  await write(host, `${at}/driver_override`, VFIO)
  await rebind(host, address, VFIO, sysfs)
}

/**
 * Hands the device back to the driver that had it, as it was. Does nothing where that was done, and
 * what is left to do where it was cut short; a driver that somebody else has given it to since keeps it.
 *
 * @throws InfrastructureError where it is not allowed, or the driver does not take it back
 */
export async function giveBackPci(
  host: Host,
  { address, driver, override }: BoundDevice,
  sysfs = '/sys',
): Promise<void> {
  const at = folderOf(address, sysfs)
  if (driver === VFIO || (await realPath(host, at)) === undefined) return
  try {
    const now = await driverOf(host, at)
    if (now === VFIO || now === undefined) {
      // The override first, so that a driver takes it back that does not know its id by itself, too.
      if (driver !== undefined) await write(host, `${at}/driver_override`, driver)
      await rebind(host, address, driver, sysfs)
    }
  } finally {
    const left = await overrideOf(host, at)
    const ours = left === VFIO || left === driver
    if (ours && left !== override) await write(host, `${at}/driver_override`, override ?? '')
  }
}

/** From whatever driver has it to this one, or to none. */
async function rebind(
  host: Host,
  address: string,
  driver: string | undefined,
  sysfs: string,
): Promise<void> {
  const at = folderOf(address, sysfs)
  const now = await driverOf(host, at)
  if (now === driver) return
  if (now !== undefined) await write(host, `${at}/driver/unbind`, address)
  await settled(host, address, { driver: undefined, at })
  if (driver === undefined) return
  await write(host, `${sysfs}/bus/pci/drivers/${driver}/bind`, address)
  await settled(host, address, { driver, at })
}

async function settled(
  host: Host,
  address: string,
  { driver, at }: { driver: string | undefined; at: string },
): Promise<void> {
  await poll(async () => (await driverOf(host, at)) === driver || undefined, {
    timeoutMs: PATIENCE_MS,
    onTimeout: (elapsedMs) =>
      new InfrastructureError(
        driver === undefined
          ? `the driver of ${address} does not let go of it`
          : `the driver ${driver} does not take ${address}`,
        { dut: host.name, elapsedMs, hint: 'dmesg has the reason' },
      ),
  })
}

function folderOf(address: string, sysfs: string): string {
  return `${sysfs}/bus/pci/devices/${address}`
}

async function driverOf(host: Host, at: string): Promise<string | undefined> {
  const path = await realPath(host, `${at}/driver`)
  return path === undefined ? undefined : basename(path)
}

/** Addresses in the device's IOMMU group, its own too; none where it has no group. */
function groupOf(host: Host, at: string): Promise<string[]> {
  return host.listDir(`${at}/iommu_group/devices`)
}

async function overrideOf(host: Host, at: string): Promise<string | undefined> {
  const text = Buffer.from(await host.readFile(`${at}/driver_override`))
    .toString()
    .trim()
  return text === '(null)' || text === '' ? undefined : text
}

async function realPath(host: Host, path: string): Promise<string | undefined> {
  const { exitCode, stdout } = await host.run('readlink', ['--canonicalize-existing', '--', path])
  return exitCode === 0 ? stdout.trimEnd() : undefined
}

/** Not `Host.writeFile`, which puts a new file in the place of the old one. */
async function write(host: Host, path: string, value: string): Promise<void> {
  const late = new AbortController()
  const writing = host.run('tee', ['--', path], { input: `${value}\n`, signal: late.signal })
  const { exitCode, stderr } = await waitFor(writing, { timeoutMs: PATIENCE_MS }).catch((error) => {
    late.abort(error)
    return { exitCode: 1, stderr: firstLine(error) }
  })
  if (exitCode === 0) return
  throw new InfrastructureError(`${JSON.stringify(value)} could not be written to ${path}`, {
    dut: host.name,
    tail: stderr,
    hint: 'only root hands over PCI devices; dmesg has the reason where the kernel refuses',
  })
}
