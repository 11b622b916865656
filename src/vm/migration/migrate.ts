import { AbortController, anySignal } from '../../abort.ts'
import { DutError, firstLine, InfrastructureError, UsageError } from '../../errors.ts'
import { receive, send, standStill, switchOver, takeBack } from '../../qemu/migration.ts'
import type { MigrationInfo } from '../../qemu/qmp-types.ts'
import { stopSignal } from '../../scope.ts'
import { performance } from '../../time.ts'
import { waitFor } from '../../wait.ts'
import { orDeath } from '../instance/exit-cause.ts'
import { allRead } from '../instance/qemu-instance.ts'
import type { VmParts } from '../lifecycle/internals.ts'
import { startTarget, type Target } from './destination.ts'
import { Said } from './input-gate.ts'
import type { MigrateWish, Migration } from './options.ts'

/** How long a QEMU whose guest has left may take to end by itself. */
const QUIT_PATIENCE_MS = 2000
/** How long what the guest has said may take to us. */
const ANSWER_MS = 100
const CLOCK_MS = 5000
/** Of the memory, what may be left when the guest is asked whether it has read all that was said to it. */
const NEAR_END = 0.5

/**
 * Moves a guest that runs into another QEMU of the same DUT. It goes on where it was if that fails,
 * and nothing is left of the other one.
 *
 * Nothing that is said to the guest or by it may be lost or come twice. What QEMU has written is read
 * to its end before a byte of the other one's is. What is to be said is kept back near the end, until
 * the guest is over there; what the guest has not taken from its console by then is said again.
 *
 * @throws InfrastructureError when it fails, with what the other QEMU said
 */
export async function migrateVm(parts: VmParts, wish: MigrateWish): Promise<Migration> {
  const { machine } = parts
  const signal = stopSignal(wish.signal, machine.life.ended)
  const startedAt = performance.now()
  try {
    // Where the end comes before the guest has answered, it is asked before the second beginning.
    for (const early of [false, true]) {
      const done = await attempt(parts, wish, { early, signal })
      if (done === undefined) continue
      const totalMs = performance.now() - startedAt
      // It stood still meanwhile; a guest that does not answer is no failure of the move.
      await machine.agent.setClock({ timeoutMs: CLOCK_MS }).catch(() => {})
      return { ...done, totalMs }
    }
    throw new Error('the guest does not answer')
  } catch (failure) {
    // The second QEMU's end may be heard first where the first has died.
    const error = await orDeath(failure, machine)
    if (machine.life.ended.aborted) throw machine.life.ended.reason
    if (error instanceof UsageError) throw error
    const said = error instanceof DutError ? error.shortMessage : firstLine(error)
    const { tail, hint } = error instanceof DutError ? error : {}
    throw new InfrastructureError(`it was not migrated, and runs on where it was: ${said}`, {
      ...{ ...machine.where, elapsedMs: performance.now() - startedAt, cause: error },
      ...(tail !== undefined && { tail }),
      ...(hint !== undefined && { hint }),
    })
  }
}

interface AttemptOptions {
  /** The guest is asked before anything is sent. */
  early: boolean
  signal: AbortSignal | undefined
}

/** Undefined where the guest was stopped while it had not read all that was said to it. */
async function attempt(
  parts: VmParts,
  wish: MigrateWish,
  { early, signal }: AttemptOptions,
): Promise<Omit<Migration, 'totalMs'> | undefined> {
  const { machine } = parts
  const { where } = machine
  parts.generation += 1
  const target = await startTarget(parts, wish, { number: parts.generation + 1, signal })
  const unread: Uint8Array[] = []
  const stop = new AbortController()
  const said = new Said(machine, { signal: stop.signal })
  const moving = move(parts, target, wish, { early, said, unread, signal: stop.signal })
  try {
    const sent = await waitFor(moving, {
      timeoutMs: wish.timeoutMs,
      signal: anySignal(signal, target.engine.life.ended),
      onTimeout: (elapsedMs) =>
        new InfrastructureError('it took too long', {
          ...{ ...where, elapsedMs },
          hint: 'does the guest write faster than memory goes over? A longer timeout or downtimeLimit, or more bandwidth',
        }),
    })
    if (sent) return await settleOver(parts, target, sent)
  } catch (error) {
    const cause = await orDeath(error, target.engine)
    stop.abort(cause)
    await moving.catch(() => {})
    await backOut(parts, target)
    throw cause
  } finally {
    said.release(...unread)
  }
  await backOut(parts, target)
  return undefined
}

async function backOut({ machine }: VmParts, target: Target): Promise<void> {
  await takeBack(machine.qmp).catch(() => {}) // it has died, which is told elsewhere
  await target.drop()
}

interface MoveOptions extends AttemptOptions {
  said: Said
  /** Gets what was typed and the guest has not taken. */
  unread: Uint8Array[]
  signal: AbortSignal
}

async function move(
  parts: VmParts,
  target: Target,
  { pace, onProgress }: MigrateWish,
  { early, said, unread, signal }: MoveOptions,
): Promise<{ info: MigrationInfo; downtimeMs: number } | undefined> {
  const { machine } = parts
  const { qmp, qemu } = machine
  const other = target.engine.qmp
  if (early) await said.hold()
  const stopped = qmp.once('STOP', { signal })
  const resumed = other.once('RESUME', { signal })
  for (const event of [stopped, resumed]) event.catch(() => {})
  await receive(other, target.uri)
  await send(qmp, target.uri, pace)
  const onLook = (info: MigrationInfo) => {
    const { status = 'none', ram } = info
    const { transferred = 0, remaining = 0, total = 0, 'dirty-sync-count': passes = 0 } = ram ?? {}
    onProgress({ status, transferred, remaining, total, passes })
    const isNear = passes > 1 || (ram !== undefined && remaining < NEAR_END * total)
    if (isNear && !early) said.holdNow()
  }
  await standStill(qmp, { onLook, signal })
  // Its answer may still be on its way to us, but no other one will come.
  const patience = { timeoutMs: ANSWER_MS, signal }
  await waitFor(said.hold(), patience).catch(() => signal.throwIfAborted())
  if (!said.isRead) return undefined
  // Its main loop has been round: it has taken all that the guest had room for.
  for (let i = 0; i < 2; i++) await qmp.execute('query-status')
  unread.push(await qemu.unread())
  await target.connect()
  const info = await switchOver([qmp, other], { signal })
  const [from, to] = await Promise.all([stopped, resumed])
  return { info, downtimeMs: msOf(to) - msOf(from) }
}

/** The guest runs over there: so does all that is the VM's, and the QEMU before goes with all it had. */
async function settleOver(
  parts: VmParts,
  target: Target,
  { info, downtimeMs }: { info: MigrationInfo; downtimeMs: number },
): Promise<Omit<Migration, 'totalMs'>> {
  const { site, machine, plugs, snapshots } = parts
  const { host } = site.home
  const { qemu, qmp, engine: left } = machine
  machine.leave()
  qmp.execute('quit').catch(() => {})
  await waitFor(qemu.exited, { timeoutMs: QUIT_PATIENCE_MS }).catch(() => qemu.kill())
  await qemu.exited
  await allRead(left)
  machine.moveTo(target.engine)
  const before = parts.lease
  parts.lease = target.lease
  await Promise.all([plugs.moved(left.devices), before.release()])
  const own = ['qmp', 'klog', 'agent', 'qga', 'qemu.log']
  const old = left.dir === parts.dir ? own.map((name) => `${left.dir}/${name}`) : [left.dir]
  await Promise.all(old.map((path) => host.remove(path)))
  await snapshots.moved()
  const { transferred = 0, 'dirty-sync-count': passes = 0 } = info.ram ?? {}
  return { downtimeMs, bytes: transferred, passes }
}

function msOf({ timestamp }: { timestamp: { seconds: number; microseconds: number } }): number {
  return timestamp.seconds * 1000 + timestamp.microseconds / 1000
}
