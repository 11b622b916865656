import type { GrantedLease } from '../../lease/admission/grant.ts'
import type { PlacedDevice } from '../../qemu/args.ts'
import type { Device } from '../../qemu/devices.ts'
import { deviceId } from '../../qemu/plug.ts'
import { isNic, placeDevices } from '../instance/backends.ts'
import type { ReservedSegment } from '../instance/host-services.ts'
import { attachTaps, settle } from '../instance/post-launch.ts'
import { discard, type Engine, startEngine } from '../instance/qemu-instance.ts'
import type { VmParts } from '../lifecycle/internals.ts'
import { needOf } from '../spec/resources.ts'
import type { MigrateWish } from './options.ts'

/** A QEMU that a guest is to move to, with all that it has of the host. */
export interface Target {
  engine: Engine
  lease: GrantedLease
  /** Where it waits, in QEMU's words. */
  uri: string
  /** Connects it to what the QEMU before was connected to; that stands still from here on. */
  connect(): Promise<void>
  /** Ends it, and gives back all that it had. */
  drop(): Promise<void>
}

/** The sockets of its links, which are on no segment yet. */
type Segments = ReservedSegment[]

/** Starts a QEMU like the one that the VM is in now. Nothing is left of it where that fails. */
export async function startTarget(
  parts: VmParts,
  { devices: changed, transport }: MigrateWish,
  { number, signal }: { number: number; signal: AbortSignal | undefined },
): Promise<Target> {
  const { site, spec, machine, accel, boot } = parts
  const { host, name: dut } = site.home
  const dir = `${parts.dir}/${number}`
  const devices = machine.devices.map((placed) => {
    const { number = 0, device } = placed
    return { before: placed, device: changed[deviceId(number)] ?? device }
  })
  const need = needOf({ ...spec, devices: devices.map(({ device }) => device) }, { dut, dir })
  const ofDevices = need.ports ?? 0
  const ports = ofDevices + (transport === 'tcp' ? 1 : 0)
  const lease = await site.lease({ ...need, ports }, { signal })
  const segments: Segments = []
  const giveBack = async () => {
    for (const { link, path } of segments) await site.leaveSegment(link, path)
    await host.remove(dir)
    await lease.release()
  }
  try {
    await host.makeDir(dir, 0o700)
    const forwards = lease.holding.ports.slice(0, ofDevices)
    const placed = await placeLike(parts, devices, { forwards, segments })
    const options = { dir, lease, accel, boot, devices: placed, incoming: true }
    const engine = await startEngine(site, spec, options)
    const drop = () => discard(engine).then(giveBack)
    try {
      await settle(host, engine, lease)
    } catch (error) {
      await discard(engine)
      throw error
    }
    const port = lease.holding.ports[ofDevices]
    const uri = transport === 'tcp' ? `tcp:127.0.0.1:${port}` : `unix:${dir}/in`
    const connect = async () => {
      for (const segment of segments) await segment.open()
      await attachTaps(host, placed)
    }
    return { engine, lease, uri, connect, drop }
  } catch (error) {
    await giveBack()
    throw error
  }
}

interface Moved {
  before: PlacedDevice
  device: Device
}

/** Devices that look the same to the guest, but with what is theirs of the host. */
async function placeLike(
  { site, index }: VmParts,
  devices: readonly Moved[],
  { forwards, segments }: { forwards: readonly number[]; segments: Segments },
): Promise<PlacedDevice[]> {
  const like = devices.map(({ before: { mac }, device }) =>
    isNic(device) ? { ...device, mac } : device,
  )
  const segment = async (link: string) => {
    const reserved = await site.reserveSegment(link)
    segments.push(reserved)
    return reserved.path
  }
  const where = { site: { macPrefix: site.macPrefix, segment }, index, ports: forwards }
  const placed = await placeDevices(like, where)
  return placed.map((one, i) => {
    const { device = one.device, before } = devices[i] ?? {}
    return { ...one, device, number: before?.number ?? i }
  })
}
