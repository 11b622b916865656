import type { Duplex } from 'node:stream'
import { type ByteStream, kept } from '../console/stream.ts'
import { InfrastructureError } from '../errors.ts'
import type { GrantedLease } from '../lease/grant.ts'
import { Lifeline } from '../lifeline.ts'
import { type PlacedDevice, qemuArgs } from '../qemu/args.ts'
import { type Boot, isBuiltIn } from '../qemu/guest-args.ts'
import { type QemuProcess, type StartedFrom, startQemu } from '../qemu/process.ts'
import { connectQmp, type Qmp, QmpClosedError } from '../qemu/qmp.ts'
import { waitFor } from '../wait.ts'
import { awaitDeath } from './death.ts'
import type { VmSite } from './home.ts'
import type { KernelLog } from './kernel-log.ts'
import type { ResolvedSpec } from './spec.ts'

/** A QEMU that runs, and what comes out of it, to which nobody listens yet. */
export interface Engine {
  readonly where: { vm: string; dut: string }
  readonly dir: string
  readonly qemu: QemuProcess
  readonly qmp: Qmp
  /** The kernel's messages are in what the console says, where they have no stream of their own. */
  readonly streams: { console: ByteStream; kernelLog?: Duplex; agent: Duplex }
  /** Ends with this QEMU. */
  readonly life: Lifeline
  /** Those that it has now. */
  readonly devices: PlacedDevice[]
  /** Of its memory, only what it has changed is its own. */
  readonly isClone: boolean
  /** Its memory began as a file that was mapped, not loaded. */
  readonly isMapped: boolean
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
  /** What it is a clone of. */
  template?: StartedFrom
  /** Its NICs are connected to nothing: it is to be saved. */
  unconnected?: boolean
  /** Waits for a saved machine. */
  incoming?: boolean
}

/** How long QEMU may take until it answers on QMP; it needs some 50 ms. */
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
  const { dir, lease, accel, boot, devices, memoryFile, template } = options
  const { unconnected, incoming } = options
  const { host } = site.home
  const where = { vm: spec.name, dut: site.home.name }
  const sockets = { qmp: `${dir}/qmp`, kernelLog: `${dir}/klog`, agent: `${dir}/agent` }
  const { pages } = lease.holding
  const listeners = {
    qmp: await host.listen(sockets.qmp),
    ...(isBuiltIn(boot) && { kernelLog: await host.listen(sockets.kernelLog) }),
    agent: await host.listen(sockets.agent),
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
    ...{ dir, lockFile: lease.lockFile, env: site.env, template },
  })
  const console = kept(qemu.terminal)
  const parts: { engine?: Engine; shutdownReason?: string } = {}
  const dead = awaitDeath({
    qemu,
    life,
    where,
    kernelLog: () => parts.engine?.kernelLog,
    shutdownReason: () => parts.shutdownReason,
    stopping: () => parts.engine?.stopping ?? false,
  })
  try {
    const patience = {
      timeoutMs: QEMU_PATIENCE_MS,
      signal: life.ended,
      onTimeout: (elapsedMs: number) =>
        new InfrastructureError('QEMU started but does not answer on QMP', { ...where, elapsedMs }),
    }
    const kernelLog =
      listeners.kernelLog && (await waitFor(listeners.kernelLog.connection, patience))
    const agent = await waitFor(listeners.agent.connection, patience)
    const qmp = await connectQmp(await waitFor(listeners.qmp.connection, patience), {
      signal: life.ended,
      timeoutMs: QEMU_PATIENCE_MS,
    })
    void (async () => {
      for await (const { data } of qmp.events('SHUTDOWN')) {
        parts.shutdownReason = String(data?.reason)
      }
    })()
    const engine: Engine = {
      ...{ where, dir, qemu, qmp, streams: { console, kernelLog, agent }, life, devices },
      ...{
        isClone: memoryFile?.share === false,
        isMapped: memoryFile !== undefined,
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
    qemu.kill()
    await dead
    throw cause
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
export async function allRead({ streams: { kernelLog, agent } }: Engine): Promise<void> {
  const open = [kernelLog, agent].filter((stream) => stream !== undefined && !stream.closed)
  await Promise.all(open.map((stream) => new Promise((resolve) => stream?.once('close', resolve))))
}
