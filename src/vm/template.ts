import { createHash } from 'node:crypto'
import { exec } from '../console/exec.ts'
import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import type { Guest } from '../image/guest.ts'
import type { GrantedLease } from '../lease/grant.ts'
import { section } from '../lease/section.ts'
import { hasSlots, qemuArgs, SLOTS } from '../qemu/args.ts'
import { outsideScope } from '../scope.ts'
import { parseSize } from '../units.ts'
import { boot } from './boot.ts'
import { discard } from './engine.ts'
import type { TemplateStore, VmSite } from './home.ts'
import { saveState } from './migrate.ts'
import { unconnectedDevices } from './place.ts'
import { becomeQuiet } from './quiet.ts'
import type { ResolvedSpec } from './spec.ts'
import { readTemplate, sealTemplate, type Template, type TemplateLabel } from './template-files.ts'
import { dropTemplate, openDraft } from './template-shelf.ts'

/** Of another layout are other templates. */
const LAYOUT = 5

/** Why a VM of this shape cannot be a clone; undefined where it can. */
export function whyNoTemplate(spec: ResolvedSpec): string | undefined {
  const { machine, devices, disks, extraArgs } = spec
  if (!hasSlots(machine)) return `a machine of type ${machine} has no ports for its devices`
  if (extraArgs.length > 0) return 'it has extraArgs'
  if (devices.length > SLOTS) return `it has more than ${SLOTS} devices`
  if (disks.some(({ readonly, snapshot }) => !readonly && !snapshot)) {
    return 'a disk that is written to cannot be saved'
  }
  if (disks.some(({ bus }) => bus === 'nvme')) return 'a disk at an nvme bus cannot be saved'
  const fixed = devices.find(({ kind }) => ['raw', 'vfio', 'virtio-crypto'].includes(kind))
  if (fixed) return `a ${fixed.kind} device cannot be saved`
  const wide = devices.some((device) => device.kind === 'vhost-user' && (device.queues ?? 1) > 1)
  return wide ? 'a NIC with several queues cannot be saved' : undefined
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
  const folder = `${store.path}/${key}`
  const found = await readTemplate(host, folder)
  if (found) return found
  const { signal, onStage } = options
  onStage('template')
  const make = async () => {
    const made = await readTemplate(host, folder)
    if (made) return made
    await dropTemplate(host, folder)
    await makeTemplate(site, spec, { ...options, store, folder, key })
    const whole = await readTemplate(host, folder)
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
    Promise.all(spec.disks.map(({ file }) => host.fileFacts(file))),
    accel === 'kvm' ? host.readFile('/proc/cpuinfo') : undefined,
  ])
  // KVM gives the guest the host's own CPU.
  const cpu = cpuinfo && /^flags.*$/m.exec(Buffer.from(cpuinfo).toString())?.[0]
  const args = qemuArgs({
    ...{ ...spec, name: '', accel, cpu: spec.cpus, boot: guest, unconnected: true },
    devices: unconnectedDevices(spec.devices),
    memory: { ...spec.memory, shared: false, hugepages: false },
    sockets: { qmp: '', kernelLog: '', agent: '' },
  })
  const parts = isInState(spec) ? 'one file' : 'memory apart'
  // What the guest has read of its disks is in its memory.
  const files = [binary, ...images].map((file) => [file?.size, file?.mtimeMs])
  const shape = [LAYOUT, path, files, guest.key, cpu, args, parts]
  return createHash('sha256').update(JSON.stringify(shape)).digest('hex').slice(0, 16)
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
    const { machine } = await boot(site, spec, {
      ...{ ...options, unconnected: true, template: { folder: draft } },
      kernel: { ...guest, append: `${guest.append} dut.hostname=template` },
      ...(!withMemory && { memoryFile: { path: `${draft}/memory`, share: true } }),
    })
    try {
      if (spec.devices.length > 0) await exec(machine, UNBIND_NICS, { check: true })
      await becomeQuiet(host, machine)
      await saveState(host, machine, { path: `${draft}/state`, withMemory })
    } finally {
      await discard(machine)
    }
    await sealTemplate(host, draft, {
      ...{ label: labelOf(spec, options), kernelLog: machine.kernelLog.text },
      secret: machine.console.marks.secret,
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

/** Bytes that a machine's memory and state can come to: what a guest has written since its boot. */
function mostOf({ memory }: ResolvedSpec): number {
  const size = parseSize(memory.size)
  // The kernel has 64 bytes for each page of 4K (struct page), and as much again for other tables.
  return Math.min(size, parseSize('256M') + size / 32)
}

function labelOf(spec: ResolvedSpec, { accel }: ObtainOptions): TemplateLabel {
  const { qemu, machine, cpus, memory, devices } = spec
  const kinds = devices.map(({ kind }) => kind)
  return { qemu, machine, accel, cpus: cpus.count, memory: memory.size, devices: kinds }
}

/**
 * A driver agrees with its device on what both can, and that depends on what the NIC is connected to:
 * so the saved NICs have none.
 */
const UNBIND_NICS = `
for nic in /sys/bus/pci/drivers/virtio-pci/*:*; do
  read -r class <"$nic/class"
  [[ $class != 0x020000 ]] || echo "\${nic##*/}" >/sys/bus/pci/drivers/virtio-pci/unbind
done
:`
