import { type DutErrorDetails, InfrastructureError, VmDiedError } from '../../errors.ts'
import type { Exit } from '../../host/host.ts'
import type { Lifeline } from '../../lifeline.ts'
import { hintFor, MUTE_HINT } from '../../qemu/hints.ts'
import type { QemuProcess } from '../../qemu/process.ts'
import type { Qmp } from '../../qemu/qmp.ts'
import { performance } from '../../time.ts'
import { formatDuration } from '../../units.ts'
import { waitFor } from '../../wait.ts'
import type { KernelLog } from './kernel-log.ts'

interface Deathbed {
  qemu: QemuProcess
  /** Undefined while QEMU has not got as far as to open it. */
  kernelLog: () => KernelLog | undefined
  life: Lifeline
  where: { vm: string; dut: string }
  /** Why QEMU said that it ends: the reason of QMP's SHUTDOWN event. */
  shutdownReason: () => string | undefined
  /** Whether it was asked to go. */
  stopping: () => boolean
  /** Says why a signal ended QEMU. */
  explain?: (exit: Exit) => Promise<string | undefined>
}

/** How long the words of a QEMU that is gone may be on their way to us: a busy machine takes its time. */
const ALL_WORDS_MS = 2000
/** How long the last words of a kernel that has panicked may be on their way. */
const LAST_WORDS_MS = 100

/** Ends the VM's lifeline, with the cause, when its QEMU is gone. */
export async function awaitDeath(bed: Deathbed): Promise<void> {
  const startedAt = performance.now()
  const exit = await bed.qemu.exited
  // The panic's text may still be in the socket that QEMU has just closed.
  await wholeLog(bed.kernelLog())
  const elapsedMs = performance.now() - startedAt
  const complaints = await bed.qemu.complaints()
  const isKilled = exit.signal !== undefined && !bed.stopping()
  const hint = isKilled ? await bed.explain?.(exit) : undefined
  bed.life.end(causeOfDeath(bed, exit, { complaints, elapsedMs, hint }))
}

/** Resolves when all has been read that a guest's kernel has said, whose QEMU is gone or going. */
export async function wholeLog(kernelLog: KernelLog | undefined): Promise<void> {
  await waitFor(kernelLog?.ended ?? Promise.resolve(), { timeoutMs: ALL_WORDS_MS }).catch(() => {})
}

function causeOfDeath(
  { kernelLog, where, shutdownReason, stopping }: Deathbed,
  exit: Exit,
  {
    complaints,
    elapsedMs,
    hint: why,
  }: { complaints: string[]; elapsedMs: number; hint: string | undefined },
): Error {
  const after = `${formatDuration(elapsedMs)} after its start`
  if (stopping()) {
    const hint = 'it does not come back; another one: dut.start()'
    return new VmDiedError(`the VM was stopped, ${after}`, { ...where, hint })
  }
  const log = kernelLog()
  const reason = shutdownReason()
  const isReset = reason === 'guest-reset' || reason === 'guest-panic'
  if (log?.panic !== undefined && isReset && !log.endedInOrder) {
    return panicError(log.panic, log, where)
  }
  if (reason === 'guest-shutdown') {
    return new VmDiedError(`the guest powered itself off, ${after}`, {
      ...where,
      tail: kernelLog()?.tail() ?? '',
    })
  }
  if (isReset) {
    return new VmDiedError(`the guest reset itself, ${after}`, {
      ...where,
      tail: kernelLog()?.tail() ?? '',
    })
  }
  const how = exit.signal ? `was killed by ${exit.signal}` : `exited with status ${exit.exitCode}`
  if (exit.signal === undefined && complaints.length > 0) {
    return new InfrastructureError(`QEMU ended: ${complaints.at(-1)}`, {
      ...where,
      tail: complaints.join('\n'),
      hint: hintFor(complaints),
    })
  }
  return new VmDiedError(`QEMU ${how}, ${after}`, {
    ...where,
    tail: [...complaints, kernelLog()?.tail() ?? ''].join('\n'),
    ...(why !== undefined && { hint: why }),
  })
}

/** Of a QEMU that runs and does not answer, with its own words, which may say what it waits for. */
export function muteError(
  complaints: readonly string[],
  options: Pick<DutErrorDetails, 'vm' | 'dut' | 'elapsedMs' | 'cause'>,
): InfrastructureError {
  return new InfrastructureError('QEMU started but does not answer on QMP', {
    ...options,
    tail: complaints.join('\n'),
    hint: hintFor(complaints) ?? MUTE_HINT,
  })
}

/**
 * Ends the VM's lifeline when it is known that its kernel has given up; after a moment, for the call trace follows the
 * line that says so, and QEMU's end follows that.
 */
export async function panicked(
  line: string,
  { kernelLog, life, where }: { kernelLog: KernelLog; life: Lifeline; where: Deathbed['where'] },
): Promise<void> {
  await waitFor(kernelLog.ended, { timeoutMs: LAST_WORDS_MS }).catch(() => {})
  life.end(panicError(line, kernelLog, where))
}

/** The death of a guest whose kernel gave up. */
export function panicError(
  line: string,
  kernelLog: KernelLog,
  where: Deathbed['where'],
): VmDiedError {
  const reason = line.replace(/^.*Kernel panic - not syncing:?\s*/, '')
  return new VmDiedError(`kernel panic: ${reason}`, { ...where, tail: kernelLog.sincePanic() })
}

/** How long it may take until it is known what a QEMU died of that is gone. */
const CAUSE_MS = 1000

/** The error; or what QEMU died of, for then it is only what came of that. */
export async function orDeath(
  error: unknown,
  { qmp, life }: { qmp: Qmp; life: Lifeline },
): Promise<unknown> {
  try {
    await qmp.execute('query-status')
    return error
  } catch {
    const timeoutMs = CAUSE_MS
    return waitFor(new Promise(() => {}), { timeoutMs, signal: life.ended }).catch(() =>
      life.ended.aborted ? life.ended.reason : error,
    )
  }
}
