import { Agent } from '../console/agent.ts'
import { Console } from '../console/console.ts'
import { InfrastructureError } from '../errors.ts'
import type { GrantedLease } from '../lease/grant.ts'
import { Lifeline } from '../lifeline.ts'
import { type PlacedDevice, qemuArgs } from '../qemu/args.ts'
import { type QemuProcess, type StartedFrom, startQemu } from '../qemu/process.ts'
import { connectQmp, type Qmp, QmpClosedError } from '../qemu/qmp.ts'
import { waitFor } from '../wait.ts'
import { awaitDeath, panicked } from './death.ts'
import type { VmSite } from './home.ts'
import { KernelLog } from './kernel-log.ts'
import { placeDevices, unconnectedDevices } from './place.ts'
import type { ResolvedSpec } from './spec.ts'

/** A QEMU that runs, and everything that comes out of it. */
export interface Machine {
  readonly where: { vm: string; dut: string }
  readonly qemu: QemuProcess
  readonly qmp: Qmp
  readonly console: Console
  readonly kernelLog: KernelLog
  readonly agent: Agent
  readonly life: Lifeline
  /** Those that it has now. */
  readonly devices: PlacedDevice[]
  /** Of its memory, only what it has changed is its own. */
  readonly isClone: boolean
  /** `performance.now()` when QEMU was started. */
  readonly startedAt: number
  /** Set before it is asked to go, so that its end is not taken for a death. */
  stopping: boolean
}

export interface LaunchOptions {
  dir: string
  index: number
  /** What QEMU is promised of the host; it holds it as long as it lives. */
  lease: GrantedLease
  accel: 'kvm' | 'tcg'
  kernel: { kernel: string; initrd: string; root: string; append: string }
  /** A file that its memory is, or begins with. */
  memoryFile?: { path: string; share: boolean }
  /** What it is a clone of. */
  template?: StartedFrom
  /** Its NICs are connected to nothing: it is to be saved. */
  unconnected?: boolean
  /** Waits for a saved machine. */
  incoming?: boolean
  /** The guest's init reports where it is. */
  onStage: (stage: string) => void
}

/** How long QEMU may take until it answers on QMP; it needs some 50 ms. */
const QEMU_PATIENCE_MS = 30_000

/**
 * Starts QEMU and waits until it is up and holds its leases. QEMU connects to us, at sockets that are
 * there before it starts, so nothing it says is missed and nobody has to try again.
 *
 * @throws InfrastructureError with QEMU's own words when it refuses
 */
export async function launch(
  site: VmSite,
  spec: ResolvedSpec,
  {
    dir,
    index,
    lease,
    accel,
    kernel,
    memoryFile,
    template,
    unconnected,
    incoming,
    onStage,
  }: LaunchOptions,
): Promise<Machine> {
  const { host } = site.home
  const where = { vm: spec.name, dut: site.home.name }
  const sockets = { qmp: `${dir}/qmp`, kernelLog: `${dir}/klog`, agent: `${dir}/agent` }
  const { ports, pages } = lease.holding
  const devices = unconnected
    ? unconnectedDevices(spec.devices)
    : await placeDevices(spec.devices, { site, index, ports })
  const listeners = {
    qmp: await host.listen(sockets.qmp),
    kernelLog: await host.listen(sockets.kernelLog),
    agent: await host.listen(sockets.agent),
  }
  const args = qemuArgs({
    ...{ ...spec, accel, cpu: spec.cpus, boot: kernel, sockets, devices },
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
  const console = new Console(qemu.terminal, { life, ...where })
  const parts: { kernelLog?: KernelLog; machine?: Machine; shutdownReason?: string } = {}
  const dead = awaitDeath({
    qemu,
    life,
    where,
    kernelLog: () => parts.kernelLog,
    shutdownReason: () => parts.shutdownReason,
    stopping: () => parts.machine?.stopping ?? false,
  })
  try {
    const patience = {
      timeoutMs: QEMU_PATIENCE_MS,
      signal: life.ended,
      onTimeout: (elapsedMs: number) =>
        new InfrastructureError('QEMU started but does not answer on QMP', { ...where, elapsedMs }),
    }
    const logStream = await waitFor(listeners.kernelLog.connection, patience)
    const kernelLog = new KernelLog(logStream, {
      stage: onStage,
      panic: (line) => void panicked(line, { kernelLog, life, where }),
    })
    parts.kernelLog = kernelLog
    const agentStream = await waitFor(listeners.agent.connection, patience)
    const agent = new Agent(agentStream, (error) => life.alarm(error))
    const qmp = await connectQmp(await waitFor(listeners.qmp.connection, patience), {
      signal: life.ended,
      timeoutMs: QEMU_PATIENCE_MS,
    })
    void (async () => {
      for await (const { data } of qmp.events('SHUTDOWN')) {
        parts.shutdownReason = String(data?.reason)
      }
    })()
    const machine = {
      where,
      qemu,
      qmp,
      console,
      kernelLog,
      agent,
      life,
      devices,
      isClone: memoryFile?.share === false,
      startedAt,
      stopping: false,
    }
    parts.machine = machine
    return machine
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
