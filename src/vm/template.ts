import { createHash } from 'node:crypto'
import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import type { Guest } from '../image/guest.ts'
import type { GrantedLease } from '../lease/grant.ts'
import { section } from '../lease/section.ts'
import { hasSlots, qemuArgs, SLOTS } from '../qemu/args.ts'
import { outsideScope } from '../scope.ts'
import { poll } from '../wait.ts'
import { boot, discard } from './boot.ts'
import type { TemplateStore, VmSite } from './home.ts'
import type { Machine } from './launch.ts'
import type { ResolvedSpec } from './spec.ts'

/** A booted machine that was saved: its memory and the state of its devices, as files. */
export interface Template {
  key: string
  folder: string
  memory: string
  state: string
  /** What the guest's kernel said while it booted. */
  kernelLog: string
}

/** Of another layout are other templates. */
const LAYOUT = 1

/** Why a VM of this shape cannot be a clone; undefined where it can. */
export function whyNoTemplate({ machine, memory, devices, extraArgs }: ResolvedSpec) {
  if (!hasSlots(machine)) return `a machine of type ${machine} takes no devices while it runs`
  if (memory.hugepages !== false) return 'its memory is in huge pages'
  if (memory.shared) return 'its memory is shared'
  if (extraArgs.length > 0) return 'it has extraArgs'
  if (devices.length > SLOTS) return `it has more than ${SLOTS} devices`
  const fixed = devices.find(({ kind }) => kind === 'raw' || kind === 'vfio')
  return fixed && `a ${fixed.kind} device cannot be added to a saved machine`
}

interface ObtainOptions {
  dir: string
  index: number
  lease: GrantedLease
  accel: 'kvm' | 'tcg'
  guest: Guest
  bootTimeoutMs: number
  signal?: AbortSignal
  onStage: (stage: string) => void
}

/**
 * The template of a VM's shape, made first where there is none that is whole. One process of the host
 * makes it while the others wait for it.
 *
 * @returns undefined where the DUT has no place for templates
 * @throws what a boot throws
 */
export async function obtainTemplate(
  site: VmSite,
  spec: ResolvedSpec,
  options: ObtainOptions,
): Promise<Template | undefined> {
  const { host } = site.home
  const store = await site.templates()
  if (store === undefined) return undefined
  const key = await templateKey(host, spec, options)
  const folder = `${store.path}/${key}`
  const found = await readTemplate(host, folder)
  if (found) return found
  options.onStage('template')
  const { signal } = options
  const make = async () => {
    const made = await readTemplate(host, folder)
    if (made) return made
    await host.remove(folder)
    await makeTemplate(site, spec, { ...options, store, folder, key })
    return readTemplate(host, folder)
  }
  return outsideScope(() => section(host, `template ${key}`, make, { signal }))
}

/** All that shapes the saved machine; what is plugged into it later has no part in it. */
async function templateKey(
  host: Host,
  spec: ResolvedSpec,
  { accel, guest }: ObtainOptions,
): Promise<string> {
  const path = (await host.findProgram(spec.qemu)) ?? spec.qemu
  const [binary, cpuinfo] = await Promise.all([
    host.fileFacts(path),
    accel === 'kvm' ? host.readFile('/proc/cpuinfo') : undefined,
  ])
  // KVM gives the guest the host's own CPU.
  const cpu = cpuinfo && /^flags.*$/m.exec(Buffer.from(cpuinfo).toString())?.[0]
  const args = qemuArgs({
    ...{ ...spec, name: '', accel, cpu: spec.cpus, boot: guest, devices: [] },
    sockets: { qmp: '', kernelLog: '', agent: '' },
  })
  const shape = [LAYOUT, path, binary?.size, binary?.mtimeMs, guest.key, cpu, args]
  return createHash('sha256').update(JSON.stringify(shape)).digest('hex').slice(0, 16)
}

interface Facts {
  memory: { size: number; mtimeMs: number }
  state: string
  kernelLog: string
}

/** The template in a folder, if it is whole and as it was made. */
export async function readTemplate(host: Host, folder: string): Promise<Template | undefined> {
  const [memory, state] = [`${folder}/memory`, `${folder}/state`]
  try {
    const facts: Facts = JSON.parse(Buffer.from(await host.readFile(`${folder}/facts`)).toString())
    const [now, saved] = await Promise.all([host.fileFacts(memory), host.readFile(state)])
    // Memory is too large to be read each time; who changes it changes its times as well.
    const whole = now?.size === facts.memory.size && now.mtimeMs === facts.memory.mtimeMs
    if (!whole || digest(saved) !== facts.state) return undefined
    const key = folder.slice(folder.lastIndexOf('/') + 1)
    return { key, folder, memory, state, kernelLog: facts.kernelLog }
  } catch {
    return undefined // none, or half of one
  }
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function makeTemplate(
  site: VmSite,
  spec: ResolvedSpec,
  {
    store,
    folder,
    key,
    ...options
  }: ObtainOptions & { store: TemplateStore; folder: string; key: string },
): Promise<void> {
  const { host } = site.home
  const draft = `${folder}.draft`
  const { guest, dir } = options
  await host.remove(draft) // of one who died over it: nobody else is here now
  await host.makeDir(draft, 0o700)
  try {
    const { machine } = await boot(
      site,
      { ...spec, devices: [] },
      {
        ...options,
        kernel: { ...guest, append: `${guest.append} dut.hostname=template` },
        memoryFile: { path: `${draft}/memory`, share: true },
      },
    )
    try {
      await save(machine, `${draft}/state`)
    } finally {
      await discard(machine)
    }
    const [memory, state] = await Promise.all([
      host.fileFacts(`${draft}/memory`),
      host.readFile(`${draft}/state`),
    ])
    if (memory === undefined) throw new InfrastructureError(`the template ${key} has no memory`)
    const { size, mtimeMs } = memory
    const facts: Facts = {
      memory: { size, mtimeMs },
      state: digest(state),
      kernelLog: machine.kernelLog.text,
    }
    await host.writeFile(`${draft}/facts`, JSON.stringify(facts))
    await host.run('mv', ['-T', '--', draft, folder])
    await dropOld(host, store, key)
  } catch (error) {
    await host.remove(draft)
    throw error
  } finally {
    await host.remove(dir)
    await host.makeDir(dir, 0o700)
  }
}

const SAVE_PATIENCE_MS = 60_000

/** Writes the state of the devices into a file; the memory, which is shared, is in its own already. */
async function save({ qmp, life, where }: Machine, file: string): Promise<void> {
  await qmp.execute('stop')
  await qmp.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'x-ignore-shared', state: true }],
  })
  await qmp.execute('migrate', { uri: `exec:cat > ${shellWord(file)}` })
  await migrated({ qmp, life, where })
}

/** Waits until a migration, in either direction, is over. */
export async function migrated({ qmp, life, where }: Pick<Machine, 'qmp' | 'life' | 'where'>) {
  const over = async () => {
    const { status, 'error-desc': reason } = await qmp.execute('query-migrate')
    if (status === 'completed') return true
    if (status !== 'failed' && status !== 'cancelled') return undefined
    throw new InfrastructureError(`QEMU could not save or restore: ${reason ?? status}`, where)
  }
  await poll(over, { everyMs: 1, timeoutMs: SAVE_PATIENCE_MS, signal: life.ended })
}

export function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

/** Drops the templates that were made longest ago until the rest fits; those who use one keep its pages. */
async function dropOld(host: Host, { path, limit }: TemplateStore, keep: string): Promise<void> {
  const names = (await host.listDir(path)).filter((name) => /^[0-9a-f]{16}$/.test(name))
  const { stdout } = await host.run('du', ['--summarize', '--block-size=1', '--', path])
  let total = Number.parseInt(stdout, 10)
  const ages = await Promise.all(
    names.map(async (name) => ({ name, at: (await host.fileFacts(`${path}/${name}`))?.mtimeMs })),
  )
  for (const { name } of ages.sort((a, b) => (a.at ?? 0) - (b.at ?? 0))) {
    if (total <= limit || name === keep) continue
    const size = await host.run('du', ['--summarize', '--block-size=1', '--', `${path}/${name}`])
    total -= Number.parseInt(size.stdout, 10)
    await host.remove(`${path}/${name}`)
  }
}
