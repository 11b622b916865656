import { createHash } from 'node:crypto'
import { InfrastructureError } from '../errors.ts'
import { defaultCacheDir } from '../host/cache-dir.ts'
import type { FileFacts, Host } from '../host/host.ts'
import { missing } from '../host/missing.ts'
import type { ArchName } from '../image/arch.ts'
import {
  kvmModules,
  readVerdict,
  type VerdictKey,
  verdictKey,
  writeVerdict,
} from './accel-cache.ts'
import { type ProbeVerdict, probe } from './accel-probe.ts'
import { probeRom } from './probe-rom.ts'

export interface AccelOptions {
  host: Host
  qemu: string
  wanted: 'auto' | 'kvm' | 'tcg'
  /** The guest's processor; `'amd64'` where none is given. */
  arch?: ArchName
  /** A folder of the host; see {@link defaultCacheDir}. */
  cacheDir?: string
  /** Gets the reason when KVM would have been welcome and TCG it is. */
  onNote?: (line: string) => void
}

export interface Accel {
  accel: 'kvm' | 'tcg'
  /** A sentence for people. */
  reason: string
}

const DEVICE = '/dev/kvm'

const verdicts = new WeakMap<Host, Map<string, Promise<ProbeVerdict>>>()

/**
 * How VMs are to run on a host. `auto` is KVM only where a 64-bit guest has run with it to its end,
 * which is tried once per boot, user, QEMU and kernel module.
 *
 * @throws InfrastructureError when `kvm` is wanted and does not work, or QEMU is missing
 */
export async function chooseAccel(options: AccelOptions): Promise<Accel> {
  const { wanted, host, onNote } = options
  if (wanted === 'tcg') return { accel: 'tcg', reason: 'TCG (slow), as was asked for.' }
  const verdict = await tryKvm(options)
  if (verdict.works) return { accel: 'kvm', reason: 'KVM: a 64-bit guest runs with it.' }
  if (wanted === 'kvm') {
    throw new InfrastructureError(`KVM does not work on ${host.name}: ${verdict.reason}`, {
      command: options.qemu,
      hint: "with accel 'auto' or 'tcg' the VMs run all the same, only slower",
    })
  }
  const reason = `TCG (slow): ${verdict.reason}.`
  onNote?.(reason)
  return { accel: 'tcg', reason }
}

async function tryKvm({
  host,
  qemu,
  arch = 'amd64',
  cacheDir = defaultCacheDir(),
}: AccelOptions): Promise<ProbeVerdict> {
  // What tries KVM is a program for x86; without a trial nothing runs with it.
  if (arch !== 'amd64') {
    if ((await host.findProgram(qemu)) === undefined) throw missing(qemu)
    return no(`guests for ${arch} are not run with KVM`)
  }
  const kvm = await host.fileFacts(DEVICE)
  if (kvm === undefined) return no(`there is no ${DEVICE} on ${host.name}`)
  if (!kvm.readable || !kvm.writable) return no(forbidden(kvm))
  const key = await verdictKey(host, { qemu, kvm, probe: romDigest() })
  if (key === undefined) throw missing(qemu)
  const known = verdicts.get(host) ?? new Map<string, Promise<ProbeVerdict>>()
  verdicts.set(host, known)
  const name = JSON.stringify([cacheDir, key])
  const verdict = known.get(name) ?? cached(host, key, cacheDir)
  known.set(name, verdict)
  const forget = () => known.delete(name)
  verdict.then((found) => found.works || found.lasting || forget(), forget)
  return verdict
}

async function cached(host: Host, key: VerdictKey, dir: string): Promise<ProbeVerdict> {
  const before = await readVerdict(host, dir, key)
  if (before) return before
  const tried = await probe({ host, qemu: key.qemu.path, dir, accel: 'kvm', cpu: 'host' })
  const verdict = tried.works
    ? tried
    : { ...tried, reason: `KVM is there but ${tried.reason}${await moduleOf(host)}` }
  if (verdict.works || verdict.lasting) await writeVerdict(host, dir, { key, verdict })
  return verdict
}

const no = (reason: string): ProbeVerdict => ({ works: false, lasting: false, reason })

function forbidden({ mode, gid }: FileFacts): string {
  // Where the group has no right to it, or is root's, joining the group is no help.
  const joinable = (mode & 0o060) === 0o060 && gid !== 0
  const give = joinable ? '' : `sudo chgrp kvm ${DEVICE} && sudo chmod 660 ${DEVICE} && `
  const line = `${give}sudo usermod -aG kvm $USER`
  const what = `no permission to use ${DEVICE} (mode ${mode.toString(8)})`
  return `${what}; type: ${line}  (and log in again)`
}

/** Names the kernel module where it is neither Intel's nor AMD's, for then it is the suspect. */
async function moduleOf(host: Host): Promise<string> {
  const modules = (await kvmModules(host)).filter((name) => name !== 'kvm')
  const usual = modules.some((name) => name === 'kvm_intel' || name === 'kvm_amd')
  return usual || modules.length === 0 ? '' : ` (kernel module ${modules.join(', ')})`
}

function romDigest(): string {
  return createHash('sha256').update(probeRom()).digest('hex').slice(0, 16)
}
