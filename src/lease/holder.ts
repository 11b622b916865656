import type { Host } from '../host/host.ts'
import { formatDuration } from '../units.ts'

interface Holder {
  pid: number
  program: string
  folder: string
  since: number
}

/** What a lock file says about its holder while it is held. */
export function holderNote(): string {
  const { pid, title: program } = process
  const holder: Holder = { pid, program, folder: process.cwd(), since: Date.now() }
  return JSON.stringify(holder)
}

/** Who holds the lock, in words for a message. Never fails: a note may be missing or half written. */
export async function describeHolder(host: Host, path: string): Promise<string> {
  try {
    const note = Buffer.from(await host.readFile(path)).toString()
    const { pid, program, folder, since } = JSON.parse(note) as Holder
    const age = formatDuration(Math.max(0, Date.now() - since))
    return `held for ${age} by process ${pid} (${program}, in ${folder})`
  } catch {
    return `held by a process that left no note in ${path}`
  }
}
