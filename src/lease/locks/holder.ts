import { userInfo } from 'node:os'
import type { Host } from '../../host/host.ts'
import { wallClock } from '../../time.ts'
import { formatDuration } from '../../units.ts'

/** On whose behalf a part of a host is held: told to everybody who waits for it. */
export interface Owner {
  /** The run's name, which is that of its folder. */
  run?: string
  /** The spec file. */
  suite?: string
}

/** Who holds a lock, as they say themselves. */
export interface Holder extends Owner {
  user: string
  pid: number
  program: string
  /** Working directory. */
  folder: string
  /** Milliseconds since the epoch. */
  since: number
}

/** This process as a holder from now on. */
export function thisHolder(owner: Owner = {}): Holder {
  const { pid, title: program } = process
  return { user: userName(), pid, program, folder: process.cwd(), ...owner, since: wallClock.now() }
}

/** What a lock file says about its holder while it is held. */
export function holderNote(owner?: Owner): string {
  return JSON.stringify(thisHolder(owner))
}

/** A holder in words for a message: `root (process 12, node in /repo, suite a.spec.ts) for 3.0 s`. */
export function holderText({ user, pid, program, folder, run, suite, since }: Holder): string {
  const what = [
    `process ${pid}`,
    `${program} in ${folder}`,
    ...(run === undefined ? [] : [`run ${run}`]),
    ...(suite === undefined ? [] : [`suite ${suite}`]),
  ]
  const age = formatDuration(Math.max(0, wallClock.now() - since))
  return `${user} (${what.join(', ')}) for ${age}`
}

/** Who holds the lock, in words for a message. Never fails: a note may be missing or half written. */
export async function describeHolder(host: Host, path: string): Promise<string> {
  try {
    const note = Buffer.from(await host.readFile(path)).toString()
    if (note === '') return `held in shared mode, or by a process that left no note in ${path}`
    return `held by ${holderText(JSON.parse(note) as Holder)}`
  } catch {
    return `held by a process that left no note in ${path}`
  }
}

/** A user without an entry in passwd(5) has only a number. */
function userName(): string {
  try {
    return userInfo().username
  } catch {
    return String(process.getuid?.())
  }
}
