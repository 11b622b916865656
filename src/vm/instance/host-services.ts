import type { Program, SpawnOptions } from '../../console/program.ts'
import type { ExecOptions } from '../../guest-protocol/exec.ts'
import type { ExecResult } from '../../guest-protocol/exec-result.ts'
import type { Host } from '../../host/host.ts'
import type { ArchName } from '../../image/arch.ts'
import type { Guest } from '../../image/guest.ts'
import type { GrantedLease } from '../../lease/admission/grant.ts'
import type { Need } from '../../lease/resources/needs.ts'

/** What a DUT gives to the VMs on it. */
export interface VmHome {
  readonly name: string
  readonly host: Host
  /** The VMs that run on it for the suite. */
  readonly vms: readonly object[]
  /** One shell command on the DUT itself. */
  exec(command: string, options?: ExecOptions): Promise<ExecResult>
  /** An interactive program on the DUT itself. */
  spawn(command: string, options?: SpawnOptions): Promise<Program>
}

/** A folder of the DUT for saved machines. */
export interface TemplateStore {
  path: string
  /** Bytes that all of them together may take. */
  limit: number
}

/** A booted machine that was saved, in a folder of its own. */
export interface Template {
  key: string
  folder: string
  /** The machine's memory; undefined where it is in `state`. */
  memory?: string
  /** QEMU's devices. */
  state: string
  /** Changes that a guest of the user's own has made to its disk. */
  disk?: string
  /** What the guest's kernel said while it booted. */
  kernelLog: string
  /** Units that its guest's init was still starting when it was saved. */
  unfinished: readonly string[]
}

/** A suite's own copies of templates, which nobody can take away while VMs are cloned from them. */
export interface TemplateCopies {
  /** A copy of the template in a folder; undefined where there is none that is whole. */
  hold(folder: string): Promise<Template | undefined>
  /** Lets go of all, once no VM is to be started any more. */
  close(): Promise<void>
}

/** A place on a link's segment that nobody is at before it is opened. */
export interface ReservedSegment {
  link: string
  path: string
  open(): Promise<void>
}

/** What a VM needs to start; its suite's DUT provides it. */
export interface VmSite {
  home: VmHome
  /** The suite's folder on the DUT, for sockets and logs. */
  dir: string
  /** Added to the environment of whatever is started, by which it is known as the suite's. */
  env: Record<string, string>
  /** Where templates are kept on the DUT. @throws InfrastructureError where they cannot be */
  templates(): Promise<TemplateStore>
  /** Those that the suite has a copy of. */
  held: TemplateCopies
  /** Something that one should know, once in a run. */
  note(line: string): void
  guest(architecture: ArchName): Promise<Guest>
  accel(qemu: string, wanted: 'auto' | 'kvm' | 'tcg', arch: ArchName): Promise<'kvm' | 'tcg'>
  /** A fresh socket on the segment of a link. */
  segment(link: string): Promise<string>
  /** A fresh one that is not on the segment yet. */
  reserveSegment(link: string): Promise<ReservedSegment>
  /** Takes such a socket off its segment, once nobody is at it any more. */
  leaveSegment(link: string, socket: string): Promise<void>
  /** A part of the DUT for a VM that is there already; waits for it as for that of a VM's start. */
  lease(need: Need, options?: { signal?: AbortSignal }): Promise<GrantedLease>
  /** A part of the Ethernet addresses made here that is this suite's own: 14 bits, at random. */
  macPrefix: number
}
