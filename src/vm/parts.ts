import type { Shell } from '../console/shell.ts'
import type { GrantedLease } from '../lease/grant.ts'
import type { VmHome } from './home.ts'
import type { Machine } from './machine.ts'
import type { Plugs } from './plug.ts'
import type { ResolvedSpec } from './spec.ts'

/** What a running VM consists of. */
export interface VmParts {
  home: VmHome
  dir: string
  spec: ResolvedSpec
  machine: Machine
  shell: Shell
  bootMs: number
  startedBy: 'cold' | 'clone'
  plugs: Plugs
  lease: GrantedLease
}
