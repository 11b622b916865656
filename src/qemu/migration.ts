import { InfrastructureError } from '../errors.ts'
import { poll } from '../wait.ts'
import type { Qmp } from './qmp.ts'
import type { MigrationInfo } from './qmp-types.ts'

/** What live migration of one QEMU to another is like. */
export interface Pace {
  /** Milliseconds that the guest may stand still, as QEMU estimates it. */
  downtimeMs: number
  /** Bytes a second; as many as there can be where none is given. */
  bandwidth?: number
}

/** More than any host moves; QEMU's own limit is 128 MiB a second. */
const NO_LIMIT = 2 ** 40
const EVERY_MS = 10
const ENDED_PATIENCE_MS = 10_000
const OVER = ['completed', 'failed', 'cancelled', 'none']

/** Has a QEMU that was started with `incoming` wait for a guest. */
export async function receive(qmp: Qmp, uri: string): Promise<void> {
  await qmp.execute('migrate-incoming', { uri })
}

/**
 * Has a QEMU send its guest, which runs meanwhile; it stands still at `pre-switchover`, and goes on over
 * there after {@link switchOver}.
 */
export async function send(qmp: Qmp, uri: string, pace: Pace): Promise<void> {
  const { downtimeMs, bandwidth = NO_LIMIT } = pace
  const capabilities = [
    // A machine that came from a template was restored without its memory, and would go on so.
    { capability: 'x-ignore-shared', state: false },
    { capability: 'pause-before-switchover', state: true },
  ]
  await qmp.execute('migrate-set-capabilities', { capabilities })
  await qmp.execute('migrate-set-parameters', {
    ...{ 'downtime-limit': downtimeMs, 'max-bandwidth': bandwidth },
  })
  await qmp.execute('migrate', { uri })
}

/**
 * Waits until the guest stands still and all that is left is to be sent.
 *
 * @param onLook called with where it is, every few milliseconds
 * @throws InfrastructureError with QEMU's words when it fails
 */
export async function standStill(
  qmp: Qmp,
  { onLook, signal }: { onLook: (info: MigrationInfo) => void; signal: AbortSignal },
): Promise<void> {
  const look = async () => {
    const info = await qmp.execute('query-migrate')
    onLook(info)
    return isAt(info, 'pre-switchover')
  }
  await poll(look, { everyMs: EVERY_MS, signal })
}

/** Sends what is left; resolves when the guest runs in the other QEMU. */
export async function switchOver(
  [from, to]: readonly [Qmp, Qmp],
  { signal }: { signal: AbortSignal },
): Promise<MigrationInfo> {
  await from.execute('migrate-continue', { state: 'pre-switchover' })
  const sent = await poll(
    async () => {
      const info = await from.execute('query-migrate')
      return isAt(info, 'completed') && info
    },
    { everyMs: 2, signal },
  )
  const runs = async () => ((await to.execute('query-status')).running ? true : undefined)
  await poll(runs, { everyMs: 2, signal })
  return sent
}

/** Takes back what {@link send} began, as far as it got: the guest runs where it was. */
export async function takeBack(qmp: Qmp): Promise<void> {
  await qmp.execute('migrate_cancel')
  const isOver = async () => {
    const { status = 'none' } = await qmp.execute('query-migrate')
    return OVER.includes(status) || undefined
  }
  await poll(isOver, { timeoutMs: ENDED_PATIENCE_MS })
  if (!(await qmp.execute('query-status')).running) await qmp.execute('cont')
}

function isAt(info: MigrationInfo, wanted: MigrationInfo['status']): true | undefined {
  const { status, 'error-desc': reason } = info
  if (status === wanted) return true
  if (status === 'failed' || status === 'cancelled' || status === 'cancelling') {
    throw new InfrastructureError(`QEMU's migration ${status}: ${reason ?? 'it says no more'}`)
  }
  return undefined
}
