import { anySignal } from '../../abort.ts'
import { GuestError, UsageError } from '../../errors.ts'
import { type GuestProbe, NONCE_LENGTH, openProbe } from '../../guest-protocol/probe.ts'
import type { Host } from '../../host/host.ts'
import { checkKeys } from '../../options.ts'
import { stopSignal } from '../../scope.ts'
import { performance } from '../../time.ts'
import { type Duration, parseDuration } from '../../units.ts'
import { poll } from '../../wait.ts'
import { partsOf, type VmParts } from '../lifecycle/internals.ts'
import { type ConnectedPort, type Port, portsOf } from './ports.ts'
import { Hearing } from './reachability.ts'

export interface DetectOptions {
  /** How long ports are listened to of which it is not clear sooner; `'1s'` where none is given. */
  timeout?: Duration
  signal?: AbortSignal
}

export interface PortsOptions extends DetectOptions {
  /** Look on the wire, too. */
  detect?: boolean
}

/** A VM that takes part, its ports, and those of them that are probed, by their numbers. */
interface Station {
  parts: VmParts
  ports: Port[]
  probed: ReadonlyMap<number, Port>
  probe?: GuestProbe | undefined
  /** The others go on without it where it does not. */
  isExtra: boolean
}

/** From one frame of each port to the next. */
const ROUND_MS = 40
/** Frames of each port that go unheard before it is believed that nobody hears it. */
const FEWEST_ROUNDS = 10
/** Frames of each port that bring nothing new before a picture is believed that looks whole. */
const MORE_ROUNDS = 5
/** For a guest that has next to no time. */
const PATIENCE_MS = 30_000

/** See `Vm.ports`. */
export async function portsOrDetect(vm: object, options: PortsOptions): Promise<Port[]> {
  checkKeys('ports', options, ['detect', 'timeout', 'signal'])
  const { detect: wanted = false, ...rest } = options
  if (!wanted) return portsOf(partsOf(vm))
  const others = partsOf(vm).home.vms.filter((other) => other !== vm)
  const [ports = []] = await detect([vm], others, rest)
  return ports
}

/**
 * The ports of VMs, and what they are connected to: one probe for all of them at once.
 *
 * @param others VMs that take part if they can
 */
export async function detect(
  vms: readonly object[],
  others: readonly object[],
  options: DetectOptions = {},
): Promise<Port[][]> {
  const timeoutMs = parseDuration(options.timeout ?? '1s', 'timeout')
  const signal = stopSignal(options.signal)
  signal?.throwIfAborted()
  if (vms.length === 0) return []
  const all = vms.map(partsOf)
  const further = others.map(partsOf)
  const listed = await Promise.all(all.map((parts) => list(parts, false)))
  for (const result of await Promise.allSettled(further.map((parts) => list(parts, true)))) {
    if (result.status === 'fulfilled') listed.push(result.value)
  }
  const stations = number(listed)
  const hearing = new Hearing(onOneLink(stations))
  try {
    await listenAndSend(stations, hearing, { timeoutMs, signal })
  } catch (error) {
    for (const { probe } of stations) probe?.close()
    throw error
  }
  return Promise.all(vms.map((_, i) => tell(stations[i] as Station, stations, hearing)))
}

/** @throws UsageError for a VM that is paused */
async function list(parts: VmParts, isExtra: boolean): Promise<Omit<Station, 'probed'>> {
  const { machine, spec } = parts
  machine.life.ended.throwIfAborted()
  machine.agent.check()
  if (!(await machine.qmp.execute('query-status')).running) {
    throw new UsageError(`${spec.name}: the ports of a VM that is paused cannot be probed`, {
      hint: 'vm.resume() first: the guest has a part in it',
    })
  }
  return { parts, ports: await portsOf(parts), isExtra }
}

/** Numbers the ports that a kernel has; of the others, says why not. */
function number(listed: readonly Omit<Station, 'probed'>[]): Station[] {
  let last = 0
  return listed.map((station) => {
    const probed = new Map<number, Port>()
    for (const port of station.ports) {
      if (port.netdev !== undefined) probed.set(last++, port)
      else port.notProbed = `${port.driver ?? 'no driver'} has it, and not the guest's kernel`
    }
    return { ...station, probed }
  })
}

/** The numbers of the ports on each link, each port that is on none by itself. */
function onOneLink(stations: readonly Station[]): number[][] {
  const links = new Map<string, number[]>()
  for (const { parts, probed } of stations) {
    for (const [id, { peer }] of probed) {
      const key = peer?.kind === 'link' ? `${parts.home.name} ${peer.name}` : `${id}`
      links.set(key, [...(links.get(key) ?? []), id])
    }
  }
  return [...links.values()]
}

async function listenAndSend(
  stations: readonly Station[],
  hearing: Hearing,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal | undefined },
): Promise<void> {
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_LENGTH))
  const here = stations.filter(({ probed }) => probed.size > 0)
  const kinds = new Map(here.flatMap(({ probed }) => [...probed]))
  let rounds = 0
  let lastNews = 0
  const each = (fn: (probe: GuestProbe, station: Station) => Promise<void>) =>
    Promise.all(
      here.map((station) => {
        const { probe } = station
        return probe && fn(probe, station).catch((error) => leave(station, error))
      }),
    )
  for (const station of here) {
    const nics = [...station.probed].map(([id, { netdev = '' }]) => ({ id, netdev }))
    station.probe = openProbe(station.parts.machine.agent, { nonce, nics }, (at, from) => {
      hearing.note(at, from)
      lastNews = rounds
    })
  }
  await each(async (probe, station) => {
    for (const [id, why] of await probe.listening(wait(station, signal))) {
      const port = station.probed.get(id)
      if (port) port.notProbed = why
    }
  })
  const startedAt = performance.now()
  const mayBeAlone = (id: number) => {
    const port = kinds.get(id)
    return port?.notProbed !== undefined || ['link', 'user-net'].includes(port?.peer?.kind ?? '')
  }
  await poll(
    async () => {
      await each((probe, station) => probe.send(wait(station, signal)))
      rounds++
      const isLong = performance.now() - startedAt >= timeoutMs && rounds >= FEWEST_ROUNDS
      const isWhole = rounds - lastNews >= MORE_ROUNDS && hearing.isWhole(mayBeAlone)
      return isLong || isWhole || undefined
    },
    { everyMs: ROUND_MS, signal },
  )
  await each((probe, station) => probe.stop(wait(station, signal)))
}

/** Goes on without a VM. @throws the error where it matters */
function leave(station: Station, error: unknown): void {
  if (!station.isExtra) throw error
  station.probe?.close()
  station.probe = undefined
}

function wait({ parts: { machine } }: Station, signal: AbortSignal | undefined) {
  return {
    timeoutMs: PATIENCE_MS,
    signal: anySignal(machine.life.signal, signal),
    onTimeout: (elapsedMs: number) =>
      new GuestError('the guest did not answer while its ports were probed', {
        ...{ ...machine.where, elapsedMs, tail: machine.kernelLog.tail() },
        hint: 'are there more busy guests and switches than cores?',
      }),
  }
}

/** The ports of a VM with what was heard. */
async function tell(
  { parts, probed, ports }: Station,
  stations: readonly Station[],
  hearing: Hearing,
): Promise<Port[]> {
  for (const [id, port] of probed) {
    if (port.notProbed !== undefined) continue
    port.connected = stations.flatMap((station) =>
      [...station.probed].flatMap(([other, { pci, netdev = '', id: device, mac }]) => {
        const [isIn, isOut] = [hearing.hears(id, other), hearing.hears(other, id)]
        if (!isIn && !isOut) return []
        const direction: ConnectedPort['direction'] = isIn && isOut ? 'both' : isIn ? 'in' : 'out'
        const { home, spec } = station.parts
        const where = { dut: home.name, vm: spec.name, pci, netdev }
        return [{ ...where, ...(device && { id: device }), ...(mac && { mac }), direction }]
      }),
    )
    if (port.connected.length > 0) port.peer ??= { kind: 'ports', ports: port.connected }
  }
  await Promise.all(ports.map((port) => findBridge(parts.home.host, port)))
  return ports
}

/** The bridge that a tap of somebody else's is on. */
async function findBridge(host: Host, { peer }: Port): Promise<void> {
  if (peer?.kind !== 'tap' || peer.bridge !== undefined) return
  const { stdout } = await host.run('readlink', [`/sys/class/net/${peer.name}/master`])
  const bridge = stdout.trim().split('/').at(-1)
  if (bridge) peer.bridge = bridge
}
