import type { Duplex } from 'node:stream'
import { type ByteStream, kept } from '../../console/stream.ts'
import type { Host } from '../../host/host.ts'
import { watchKills } from '../../host/killed.ts'
import { folderOf } from '../../host/room.ts'
import type { GrantedLease } from '../../lease/admission/grant.ts'
import { Lifeline } from '../../lifeline.ts'
import { type PlacedDevice, qemuArgs } from '../../qemu/args.ts'
import { type Boot, isBuiltIn } from '../../qemu/guest-args.ts'
import { type MemorySource, type QemuProcess, startQemu } from '../../qemu/process.ts'
import { connectQmp, type Qmp, QmpClosedError } from '../../qemu/qmp.ts'
import { stopSignal } from '../../scope.ts'
import { performance } from '../../time.ts'
import { waitFor } from '../../wait.ts'
import type { ResolvedSpec } from '../spec/spec.ts'
import { awaitDeath, muteError } from './exit-cause.ts'
import type { VmSite } from './host-services.ts'
import type { KernelLog } from './kernel-log.ts'

/** A QEMU that runs, and what comes out of it, to which nobody listens yet. */
export interface Engine {
  readonly where: { vm: string; dut: string }
  readonly dir: string
  readonly host: Host
  readonly qemu: QemuProcess
  readonly qmp: Qmp
  /** The kernel's messages are in what the console says, where they have no stream of their own. */
  readonly streams: {
    console: ByteStream
    kernelLog?: Duplex
    agent: Duplex
    /** The QEMU guest agent's, where the VM is to have one. */
    guestAgent?: Duplex
  }
  /** Ends with this QEMU. */
  readonly life: Lifeline
  /** Those that it has now. */
  readonly devices: PlacedDevice[]
  /** Of its memory, only what it has changed is its own. */
  readonly isClone: boolean
  /** `performance.now()` when QEMU was started. */
  readonly startedAt: number
  /** Set before it is asked to go, so that its end is not taken for a death. */
  stopping: boolean
  /** Where its guest's kernel is listened to; its last words are in the error of a death. */
  kernelLog?: KernelLog
}

export interface EngineOptions {
  dir: string
  /** What QEMU is promised of the host; it holds it as long as it lives. */
  lease: GrantedLease
  accel: 'kvm' | 'tcg'
  /** What it boots. */
  boot: Boot
  devices: PlacedDevice[]
  /** A file that its memory is, or begins with. */
  memoryFile?: { path: string; share: boolean }
  /** A folder that is in use as long as it lives. */
  held?: string
  /** What its memory is a copy of. */
  copy?: MemorySource
  /** Its NICs are connected to nothing: it is to be saved. */
  unconnected?: boolean
  /** Waits for a saved machine. */
  incoming?: boolean
  /** How long it may take until it answers on QMP, milliseconds; {@link QEMU_PATIENCE_MS} at most. */
  timeoutMs?: number
  signal?: AbortSignal
}

/** QEMU needs some 50 ms until it answers. */
const QEMU_PATIENCE_MS = 30_000

/**
 * Starts QEMU and waits until it is up and holds its leases. QEMU connects to us, at sockets that are
 * there before it starts, so nothing it says is missed and nobody has to try again.
 *
 * @throws InfrastructureError with QEMU's own words when it refuses
 */
export async function startEngine(
  site: VmSite,
  spec: ResolvedSpec,
  options: EngineOptions,
): Promise<Engine> {
  const { dir, lease, accel, boot, devices, memoryFile, held, copy } = options
  const { unconnected, incoming, timeoutMs = QEMU_PATIENCE_MS, signal } = options
  const { host } = site.home
  const where = { vm: spec.name, dut: site.home.name }
  const sockets = {
    ...{ qmp: `${dir}/qmp`, kernelLog: `${dir}/klog`, agent: `${dir}/agent` },
    ...(spec.agent && { guestAgent: `${dir}/qga` }),
  }
  const { pages } = lease.holding
  const listeners = {
    qmp: await host.listen(sockets.qmp),
    ...(isBuiltIn(boot) && { kernelLog: await host.listen(sockets.kernelLog) }),
    agent: await host.listen(sockets.agent),
    ...(sockets.guestAgent && { guestAgent: await host.listen(sockets.guestAgent) }),
  }
  const args = qemuArgs({
    ...{ ...spec, accel, cpu: spec.cpus, boot, sockets, devices },
    ...{ unconnected, incoming },
    memory: {
      ...spec.memory,
      ...(pages?.bind && { node: pages.node }),
      ...(memoryFile && { file: memoryFile }),
    },
  })

  const life = new Lifeline()
  const startedAt = performance.now()
  const qemu = startQemu(host, [spec.qemu, ...args], {
    ...{ dir, lockFile: lease.lockFile, env: site.env, held, copy },
  })
  const console = kept(qemu.terminal)
  const file = copy?.beside ?? memoryFile?.path
  const explain = watchKills(host, qemu.pid, {
    hugepages: spec.memory.hugepages !== false,
    ...(file !== undefined && { folder: folderOf(file) }),
  })
  const parts: { engine?: Engine; shutdownReason?: string } = {}
  const dead = awaitDeath({
    qemu,
    life,
    where,
    kernelLog: () => parts.engine?.kernelLog,
    shutdownReason: () => parts.shutdownReason,
    stopping: () => parts.engine?.stopping ?? false,
    explain,
  })
  const patience = {
    timeoutMs: Math.min(timeoutMs, QEMU_PATIENCE_MS),
    signal: stopSignal(life.ended, signal),
  }
  try {
    const kernelLog =
      listeners.kernelLog && (await waitFor(listeners.kernelLog.connection, patience))
    const agent = await waitFor(listeners.agent.connection, patience)
    const guestAgent =
      listeners.guestAgent && (await waitFor(listeners.guestAgent.connection, patience))
    const qmp = await connectQmp(await waitFor(listeners.qmp.connection, patience), patience)
    void (async () => {
      for await (const { data } of qmp.events('SHUTDOWN')) {
        parts.shutdownReason = String(data?.reason)
      }
    })()
    const engine: Engine = {
      ...{ where, dir, host, qemu, qmp, streams: { console, kernelLog, agent, guestAgent } },
      ...{ life, devices },
      ...{
        isClone: memoryFile?.share === false,
        startedAt,
        stopping: false,
      },
    }
    parts.engine = engine
    return engine
  } catch (error) {
    // A connection that closes is QEMU's end, and QEMU's own words are the better message.
    if (error instanceof QmpClosedError) await waitFor(dead, { timeoutMs: 1000 }).catch(() => {})
    const cause = life.ended.aborted ? life.ended.reason : error
    const isMute = !patience.signal?.aborted
    const elapsedMs = performance.now() - startedAt
    qemu.kill()
    await dead
    throw isMute ? muteError(await qemu.complaints(), { ...where, elapsedMs, cause }) : cause
  } finally {
    for (const listener of Object.values(listeners)) listener.close()
  }
}

/** Ends a QEMU that is not to be a VM, or not any more. */
export async function discard(engine: Pick<Engine, 'qemu' | 'stopping'>): Promise<void> {
  engine.stopping = true
  engine.qemu.kill()
  await engine.qemu.exited
}

/** Resolves when all that came out of a QEMU that has ended, but for its console, has been read. */
export async function allRead({ streams }: Engine): Promise<void> {
  const { kernelLog, agent, guestAgent } = streams
  const open = [kernelLog, agent, guestAgent].filter((stream) => stream && !stream.closed)
  await Promise.all(open.map((stream) => new Promise((resolve) => stream?.once('close', resolve))))
}
