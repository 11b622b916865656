import { createHash } from 'node:crypto'
import { InfrastructureError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import type { Guest } from '../../image/guest.ts'
import type { GrantedLease } from '../../lease/admission/grant.ts'
import { section } from '../../lease/locks/section.ts'
import { qemuArgs } from '../../qemu/args.ts'
import { hasSlots, machineKind, SLOTS } from '../../qemu/machine-kind.ts'
import { createOverlay } from '../../qemu/overlay.ts'
import { outsideScope } from '../../scope.ts'
import { parseSize } from '../../units.ts'
import { boot } from '../boot/cold-boot.ts'
import { isNic, unconnectedDevices } from '../instance/backends.ts'
import type { Template, TemplateStore, VmSite } from '../instance/host-services.ts'
import { discard } from '../instance/qemu-instance.ts'
import { bootOf } from '../spec/boot-source.ts'
import { loginOf, type ResolvedSpec } from '../spec/spec.ts'
import { sealTemplate, type TemplateLabel } from './files.ts'
import { forgetIdentity } from './forget-identity.ts'
import { becomeQuiet } from './quiesce.ts'
import { saveState } from './state-file.ts'
import { dropTemplate, openDraft } from './store.ts'

/** Of another layout are other templates. */
const LAYOUT = 9

/** Why a VM of this shape cannot be a clone; undefined where it can. */
export function whyNoTemplate(spec: ResolvedSpec): string | undefined {
  const { machine, devices, extraArgs } = spec
  const own = spec.guest === 'default' ? undefined : spec.guest
  const disks = [...(own?.disk ? [own.disk] : []), ...spec.disks]
  if (!hasSlots(machine)) return `a machine of type ${machine} has no ports for its devices`
  if (extraArgs.length > 0) return 'it has extraArgs'
  if (devices.length > SLOTS) return `it has more than ${SLOTS} devices`
  if (own && own.login === undefined) return 'a guest without a login has no agent'
  if (own?.login && own.login.user !== 'root') {
    return `a guest that ${own.login.user} logs in to has no agent, which clones need`
  }
  if (disks.some(({ readonly, snapshot }) => !readonly && !snapshot)) {
    return 'a disk that is written to cannot be saved'
  }
  if (disks.some(({ bus }) => bus === 'nvme')) return 'a disk at an nvme bus cannot be saved'
  const fixed = devices.find((device) => !isNic(device))
  if (fixed) return `a ${fixed.kind} device cannot be saved`
  const wide = devices.some((device) => device.kind === 'vhost-user' && (device.queues ?? 1) > 1)
  return wide ? 'a NIC with several queues cannot be saved' : undefined
}

/** Shapes whose guests turned out to have no agent, and why; for this process's life. */
const hopeless = new Map<string, string>()

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
 * The suite's copy of the template of a VM's shape, which is made first where there is none that is whole.
 * One process of the host makes it while the others wait for it.
 *
 * @throws what a boot throws; InfrastructureError where there is no place for templates
 */
export async function obtainTemplate(
  site: VmSite,
  spec: ResolvedSpec,
  options: ObtainOptions,
): Promise<Template> {
  const { host } = site.home
  const store = await site.templates()
  const key = await templateKey(host, spec, options)
  const reason = hopeless.get(`${host.name} ${key}`)
  if (reason !== undefined) throw new InfrastructureError(reason)
  const folder = `${store.path}/${key}`
  const found = await site.held.hold(folder)
  if (found) return found
  const { signal, onStage } = options
  onStage('template')
  const make = async () => {
    const made = await site.held.hold(folder)
    if (made) return made
    await dropTemplate(host, folder)
    await makeTemplate(site, spec, { ...options, store, folder, key })
    const whole = await site.held.hold(folder)
    if (whole === undefined) throw new InfrastructureError('its template went away at once')
    return whole
  }
  return outsideScope(() => section(host, `template ${key}`, make, { signal }))
}

/**
 * All that shapes the saved machine, and the node that its memory is on. What its devices are connected
 * to has no part in it, nor whether others can map its memory.
 */
async function templateKey(
  host: Host,
  spec: ResolvedSpec,
  { accel, guest }: ObtainOptions,
): Promise<string> {
  const path = (await host.findProgram(spec.qemu)) ?? spec.qemu
  const [binary, images, cpuinfo] = await Promise.all([
    host.fileFacts(path),
    Promise.all(imagesOf(spec).map((file) => host.fileFacts(file))),
    accel === 'kvm' ? host.readFile('/proc/cpuinfo') : undefined,
  ])
  // KVM gives the guest the host's own CPU.
  const cpu = cpuinfo && /^flags.*$/m.exec(Buffer.from(cpuinfo).toString())?.[0]
  const args = qemuArgs({
    ...{ ...spec, name: '', accel, cpu: spec.cpus, unconnected: true },
    boot: bootOf(spec, guest),
    devices: unconnectedDevices(spec.devices),
    memory: { ...spec.memory, shared: false, hugepages: false },
    sockets: { qmp: '', kernelLog: '', agent: '', ...(spec.agent && { guestAgent: '' }) },
  })
  const parts = isInState(spec) ? 'one file' : 'memory apart'
  // What the guest has read of its disks is in its memory.
  const files = [binary, ...images].map((file) => [file?.size, file?.mtimeMs])
  // With its password, else a wrong one would be let in where a template is logged in already.
  const { user, password, answers = [] } = loginOf(spec) ?? {}
  const said = answers.map(({ prompt, answer }) => [String(prompt), answer])
  const shape = [LAYOUT, path, files, guest.key, cpu, args, parts, user, password, said]
  return createHash('sha256').update(JSON.stringify(shape)).digest('hex').slice(0, 16)
}

/** Files that decide what a guest has in its memory. */
function imagesOf({ guest, disks }: ResolvedSpec): string[] {
  const own = guest === 'default' ? [] : [guest.disk?.file, guest.kernel, guest.initrd]
  return [...own, ...disks.map(({ file }) => file)].filter((file) => file !== undefined)
}

/** Huge pages cannot be mapped from a file of ordinary ones: they are loaded. */
function isInState({ memory }: ResolvedSpec): boolean {
  return memory.hugepages !== false
}

interface MakeOptions extends ObtainOptions {
  store: TemplateStore
  folder: string
  key: string
}

/** Boots a machine of the VM's shape in its place, with what it was promised, and saves it. */
async function makeTemplate(
  site: VmSite,
  spec: ResolvedSpec,
  { store, folder, key, ...options }: MakeOptions,
): Promise<void> {
  const { host } = site.home
  const { guest, dir } = options
  const { folder: draft, lock } = await openDraft(host, store, { key, most: mostOf(spec) })
  try {
    const withMemory = isInState(spec)
    const disk = await draftDisk(host, spec, draft)
    let unfinished: string[] = []
    const { machine } = await boot(site, spec, {
      ...{ ...options, unconnected: true, held: draft, login: loginOf(spec) },
      boot: bootOf(spec, guest, { hostname: 'template', ...(disk && { disk }) }),
      ...(!withMemory && { memoryFile: { path: `${draft}/memory`, share: true } }),
    })
    try {
      if (machine.agent.absent !== undefined) {
        const reason = `its guest has no agent: ${machine.agent.absent}`
        hopeless.set(`${host.name} ${key}`, reason)
        throw new InfrastructureError(reason)
      }
      await forgetIdentity(machine, spec)
      unfinished = await becomeQuiet(machine, {
        isBuiltIn: spec.guest === 'default',
        button: machineKind(spec.machine).button,
        onWait: (units) => {
          options.onStage(`waits for ${units.join(', ')}`)
          site.note(
            `a guest is still starting before it is saved: it waits for ${units.join(', ')}`,
          )
        },
      })
      await saveState(host, machine, { path: `${draft}/state`, withMemory })
    } finally {
      await discard(machine)
    }
    await sealTemplate(host, draft, {
      ...{ label: labelOf(spec, options), kernelLog: machine.kernelLog.text },
      unfinished,
    })
    const { exitCode, stderr } = await host.run('mv', ['-T', '--', draft, folder])
    if (exitCode !== 0) throw new InfrastructureError('no template was made', { tail: stderr })
  } catch (error) {
    await host.remove(draft)
    throw error
  } finally {
    await lock.release()
    await host.remove(dir)
    await host.makeDir(dir, 0o700)
  }
}

/** An empty disk on the guest's own, which has what the guest writes while it boots. */
async function draftDisk(host: Host, { guest }: ResolvedSpec, draft: string) {
  if (guest === 'default' || guest.disk === undefined) return undefined
  const { file, format = 'raw' } = guest.disk
  const path = `${draft}/disk`
  await createOverlay(host, path, { file, format })
  return { file: path, snapshot: false }
}

/** Bytes that a machine's memory and state can come to: what a guest has written since its boot. */
function mostOf({ memory, guest }: ResolvedSpec): number {
  const size = parseSize(memory.size)
  const disk = guest === 'default' ? 0 : parseSize('256M')
  // The kernel has 64 bytes for each page of 4K (struct page), and as much again for other tables.
  return Math.min(size, parseSize('256M') + size / 32) + disk
}

function labelOf(spec: ResolvedSpec, { accel }: ObtainOptions): TemplateLabel {
  const { qemu, machine, cpus, memory, devices } = spec
  const kinds = devices.map(({ kind }) => kind)
  return { qemu, machine, accel, cpus: cpus.count, memory: memory.size, devices: kinds }
}
