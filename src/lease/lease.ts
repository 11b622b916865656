import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import { stopSignal } from '../scope.ts'
import { lockPath } from './folder.ts'
import { holderNote } from './holder.ts'

/** Exit status of a command that `leaseCommand` made when somebody else has one of its leases. */
export const LEASE_TAKEN = 99

/** A hold on one resource of a host for the program that is started with it. */
export interface Lease {
  /** What is leased, e.g. `port-tcp-20000`. */
  readonly name: string
  /** What the program locks: a folder, because whoever may read one may lock it. */
  readonly lockFile: string
}

/**
 * The command that takes the leases, all or none, and then becomes `command`: the leases are its own
 * from before its first instruction until it is gone, whoever ends it. It exits with
 * {@link LEASE_TAKEN} where somebody else has one.
 */
export function leaseCommand(lockFiles: readonly string[], command: readonly string[]): string[] {
  const flock = ['flock', '--no-fork', '--nonblock', '--conflict-exit-code', String(LEASE_TAKEN)]
  return [...lockFiles.flatMap((lockFile) => [...flock, lockFile]), ...command]
}

/** A lease that nobody else is given until the claim is released. */
export interface Claim {
  readonly lease: Lease
  release(): Promise<void>
}

/**
 * Claims a lease for a program that is yet to start; undefined where it is claimed or held already.
 *
 * A program's lease is locked by the program itself, so something has to hold the place between the
 * choice and its start: a second lock, held by this process. Whoever chooses takes that one first
 * and then looks at the first, and lets go of it only once the program has its lease; so at each
 * moment one of the two is locked, and no two are given the same.
 */
export async function claim(
  host: Host,
  name: string,
  { signal }: { signal?: AbortSignal } = {},
): Promise<Claim | undefined> {
  const stop = stopSignal(signal)
  const place = await host.lock(await lockPath(host, `claim-${name}`), {
    ...{ wait: false, note: holderNote(), signal: stop },
  })
  if (place === undefined) return undefined
  try {
    const lockFile = await lockPath(host, `lease-${name}`)
    await makeLockable(host, lockFile)
    if (await isFree(host, lockFile, stop)) {
      return { lease: { name, lockFile }, release: () => place.release() }
    }
  } catch (error) {
    await place.release()
    throw error
  }
  await place.release()
  return undefined
}

// A folder and not a file: flock(1) opens with O_CREAT, which fs.protected_regular (proc(5)) forbids
// on another user's file in a sticky folder. --mode is exact, whatever the umask.
async function makeLockable(host: Host, path: string): Promise<void> {
  const { exitCode, stderr } = await host.run('mkdir', ['--parents', '--mode=755', '--', path])
  if (exitCode === 0) return
  throw new InfrastructureError(`the lock folder ${path} cannot be made`, {
    dut: host.name,
    tail: stderr,
    hint: 'remove what is in its place, or set VITEST_DUT_LOCK_DIR to another folder',
  })
}

// Asked by a program and not by a lock of our own: a terminal that is just being opened by this
// process has a copy of all our files until its program is there, and would hold such a lock on for
// some milliseconds, so that the very program we chose the lease for could not have it.
async function isFree(host: Host, lockFile: string, signal?: AbortSignal): Promise<boolean> {
  const [flock = '', ...args] = leaseCommand([lockFile], ['true'])
  const { exitCode, stderr } = await host.run(flock, args, { signal })
  if (exitCode === 0 || exitCode === LEASE_TAKEN) return exitCode === 0
  throw new InfrastructureError(`the lease ${lockFile} cannot be looked at`, {
    dut: host.name,
    tail: stderr,
    hint: 'remove what is in its place, or set VITEST_DUT_LOCK_DIR to another folder',
  })
}
