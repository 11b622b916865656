import { createHash } from 'node:crypto'
import type { Host } from '../../host/host.ts'
import { wallClock } from '../../time.ts'
import type { Template } from '../instance/host-services.ts'

/** What the machines are that a template is for, for people. */
export interface TemplateLabel {
  qemu: string
  machine: string
  accel: 'kvm' | 'tcg'
  cpus: number
  memory: string
  devices: readonly string[]
}

/** A template's folder has its key for a name. */
export function keyOf(folder: string): string {
  return folder.slice(folder.lastIndexOf('/') + 1)
}

/** When a file was written last, in nanoseconds' worth of milliseconds, and its bytes. */
interface Seen {
  size: number
  mtimeMs: number
}

export interface TemplateFacts {
  label: TemplateLabel
  memory?: Seen
  disk?: Seen
  state: Seen
  /** Of the state, where it is small enough to be read each time. */
  digest?: string
  kernelLog: string
  unfinished: readonly string[]
}

const FACTS = 'facts'
/** Bytes up to which a state's digest is looked at. */
const SMALL = 8 << 20

/** The template in a folder, if it is whole and as it was made. */
export async function readTemplate(host: Host, folder: string): Promise<Template | undefined> {
  const [memory, state] = [`${folder}/memory`, `${folder}/state`]
  try {
    const facts = await readFacts(host, folder)
    if (!(await isUntouched(host, folder, facts))) return undefined
    if (facts.digest !== undefined && digest(await host.readFile(state)) !== facts.digest) {
      return undefined
    }
    const { kernelLog, unfinished = [] } = facts
    return {
      ...{ key: keyOf(folder), folder, state, kernelLog, unfinished },
      ...{ ...(facts.memory && { memory }), ...(facts.disk && { disk: `${folder}/disk` }) },
    }
  } catch {
    return undefined // none, or half of one
  }
}

// Memory is too large to be read each time; who changes it changes its times as well.
async function isUntouched(
  host: Host,
  folder: string,
  { memory, disk, state }: TemplateFacts,
): Promise<boolean> {
  const files = { state, ...(memory && { memory }), ...(disk && { disk }) }
  for (const [name, seen] of Object.entries(files)) {
    if (!isSame(seen, await host.fileFacts(`${folder}/${name}`))) return false
  }
  return true
}

type SaidFacts = Pick<TemplateFacts, 'label' | 'kernelLog'> &
  Partial<Pick<TemplateFacts, 'unfinished'>>

/** Makes a folder with memory and state into a template; those files are not to be changed any more. */
export async function sealTemplate(
  host: Host,
  folder: string,
  { unfinished = [], ...said }: SaidFacts,
): Promise<void> {
  const [memory, state] = [`${folder}/memory`, `${folder}/state`]
  const disk = `${folder}/disk`
  const hasMemory = (await host.fileFacts(memory)) !== undefined
  const hasDisk = (await host.fileFacts(disk)) !== undefined
  const files = [state, ...(hasMemory ? [memory] : []), ...(hasDisk ? [disk] : [])]
  await host.run('chmod', ['0400', '--', ...files])
  const seen = await see(host, state)
  const facts: TemplateFacts = {
    ...said,
    state: seen,
    unfinished,
    ...(hasMemory && { memory: await see(host, memory) }),
    ...(hasDisk && { disk: await see(host, disk) }),
    ...(seen.size <= SMALL && { digest: digest(await host.readFile(state)) }),
  }
  await host.writeFile(`${folder}/${FACTS}`, JSON.stringify(facts))
}

/** As near as it has to be known when a template was used last. */
const NEAR_MS = 60_000

/** Keeps a template from being the next that is dropped. */
export async function markUsed(host: Host, { folder }: Template): Promise<void> {
  if (wallClock.now() - (await touchedAt(host, folder)) < NEAR_MS) return
  await host.run('touch', ['--no-create', '--', `${folder}/${FACTS}`])
}

/** When it was used last, or else made; milliseconds since 1970. */
export async function touchedAt(host: Host, folder: string): Promise<number> {
  const facts = await host.fileFacts(`${folder}/${FACTS}`)
  return (facts ?? (await host.fileFacts(folder)))?.mtimeMs ?? 0
}

/** What a template's maker wrote of it. @throws where it is not whole */
export async function readFacts(host: Host, folder: string): Promise<TemplateFacts> {
  return JSON.parse(Buffer.from(await host.readFile(`${folder}/${FACTS}`)).toString())
}

async function see(host: Host, path: string): Promise<Seen> {
  const { size, mtimeMs } = (await host.fileFacts(path)) ?? { size: 0, mtimeMs: 0 }
  return { size, mtimeMs }
}

function isSame(made: Seen, now: Seen | undefined): boolean {
  return now !== undefined && now.size === made.size && now.mtimeMs === made.mtimeMs
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
