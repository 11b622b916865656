import { createHash } from 'node:crypto'
import type { FileFacts, Host } from '../host/host.ts'
import type { ProbeVerdict } from './accel-probe.ts'

/** What a verdict on KVM depends on; with any of it changed the verdict is no longer good. */
export interface VerdictKey {
  /** A verdict of another version of the probe is none. */
  probe: string
  boot: string
  /** User and groups of this process. */
  who: string
  qemu: { path: string; size: number; mtimeMs: number }
  kvm: Pick<FileFacts, 'mode' | 'uid' | 'gid' | 'readable' | 'writable'>
  /** The kernel modules of KVM; another module, or the same with other parameters, can be cured. */
  modules: Record<string, ModuleFacts>
}

interface ModuleFacts {
  /** A digest of the module's sources; a module that is part of the kernel has none. */
  srcversion?: string
  /** How much memory its code and data take, in bytes. */
  coresize?: string
  parameters: Record<string, string>
}

/** Gathers the key without starting a program. */
export async function verdictKey(
  host: Host,
  { probe, qemu, kvm }: { probe: string; qemu: string; kvm: FileFacts },
): Promise<VerdictKey | undefined> {
  const path = await host.findProgram(qemu)
  const facts = path === undefined ? undefined : await host.fileFacts(path)
  if (path === undefined || facts === undefined) return undefined
  const [boot, status, modules] = await Promise.all([
    textOf(host, '/proc/sys/kernel/random/boot_id'),
    textOf(host, '/proc/self/status'),
    kvmModules(host).then((names) => Promise.all(names.map((name) => moduleFacts(host, name)))),
  ])
  const { mode, uid, gid, readable, writable } = kvm
  return {
    probe,
    boot: boot.trim(),
    who: (status.match(/^(?:Uid|Gid|Groups):.*$/gm) ?? []).join(' ').replaceAll(/\s+/g, ' ').trim(),
    qemu: { path, size: facts.size, mtimeMs: facts.mtimeMs },
    kvm: { mode, uid, gid, readable, writable },
    modules: Object.fromEntries(modules),
  }
}

const MODULES = '/sys/module'

/** Names of the kernel modules that KVM is made of, sorted. */
export async function kvmModules(host: Host): Promise<string[]> {
  return (await host.listDir(MODULES)).filter((name) => /^kvm(_|$)/.test(name)).sort()
}

async function moduleFacts(host: Host, name: string): Promise<[string, ModuleFacts]> {
  const folder = `${MODULES}/${name}`
  const parameters = (await host.listDir(`${folder}/parameters`)).sort()
  const [srcversion, coresize, ...values] = await Promise.all(
    ['srcversion', 'coresize', ...parameters.map((parameter) => `parameters/${parameter}`)].map(
      // Some are for root to read, and those that are not there are none.
      (file) =>
        textOf(host, `${folder}/${file}`).then(
          (text) => text.trim(),
          () => undefined,
        ),
    ),
  )
  const facts = {
    ...(srcversion !== undefined && { srcversion }),
    ...(coresize !== undefined && { coresize }),
    parameters: Object.fromEntries(
      parameters.flatMap((parameter, i) => {
        const value = values[i]
        return value === undefined ? [] : [[parameter, value]]
      }),
    ),
  }
  return [name, facts]
}

/** The verdict in the cache; undefined where there is none for this key. */
export async function readVerdict(
  host: Host,
  dir: string,
  key: VerdictKey,
): Promise<ProbeVerdict | undefined> {
  try {
    const entry = JSON.parse(await textOf(host, fileOf(dir, key)))
    if (JSON.stringify(entry.key) !== JSON.stringify(key)) return undefined
    if (entry.verdict.works === true) return { works: true }
    const { reason } = entry.verdict
    return typeof reason === 'string' ? { works: false, lasting: true, reason } : undefined
  } catch {
    return undefined // missing, or not ours: the next verdict replaces it
  }
}

/** A cache that cannot be written costs time, and is no reason to fail. */
export async function writeVerdict(
  host: Host,
  dir: string,
  { key, verdict }: { key: VerdictKey; verdict: ProbeVerdict },
): Promise<void> {
  const text = `${JSON.stringify({ key, verdict }, undefined, 2)}\n`
  await host.writeFile(fileOf(dir, key), text, 0o600).catch(() => {})
}

// One file for each user and QEMU, so that reboots do not pile them up.
function fileOf(dir: string, { who, qemu }: VerdictKey): string {
  const name = createHash('sha256').update(`${who}\n${qemu.path}`).digest('hex').slice(0, 16)
  return `${dir}/accel-${name}.json`
}

async function textOf(host: Host, path: string): Promise<string> {
  return Buffer.from(await host.readFile(path)).toString()
}
