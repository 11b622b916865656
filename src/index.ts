export { expect } from 'vitest'
export type { Console } from './console/console.ts'
export type { Login, LoginAnswer } from './console/login-prompt.ts'
export type { Pattern } from './console/pattern.ts'
export type { Program, SpawnOptions } from './console/program.ts'
export type { CmdOptions, CmdResult, StepResult } from './console/steps.ts'
export {
  CommandFailedError,
  CommandTimeoutError,
  DutError,
  GuestError,
  InfrastructureError,
  UsageError,
  VmDiedError,
} from './errors.ts'
export { Dut } from './fleet/dut.ts'
export type { DutFacts } from './fleet/facts.ts'
export type { BackendContext, Fleet, FleetOptions, VmContext } from './fleet/fleet.ts'
export { startFleet } from './fleet/fleet.ts'
export { openRunFolder } from './fleet/run-folder.ts'
export { detectTopology } from './fleet/topology.ts'
export type { ExecOptions } from './guest-protocol/exec.ts'
export type { ExecResult } from './guest-protocol/exec-result.ts'
export { localHost } from './host/local.ts'
export type {
  Device,
  Forward,
  TapOptions,
  UserNetOptions,
  VhostUserOptions,
  VirtioCryptoOptions,
} from './qemu/devices.ts'
export { link, raw, tap, userNet, vfio, vhostUser, virtioCrypto } from './qemu/devices.ts'
export { GuestAgentError } from './qemu/guest-agent-error.ts'
export { QmpError } from './qemu/qmp-error.ts'
export type { DutTestOptions } from './runner/dut-test.ts'
export { dutTest } from './runner/dut-test.ts'
export type { Duration, Size } from './units.ts'
export type { Session } from './vm/guest/session.ts'
export type { GuestAgentCommand, GuestAgentExecOptions } from './vm/guest-agent/exec.ts'
export type {
  GuestAgent,
  GuestAgentInfo,
  GuestAgentOptions,
  GuestInterface,
} from './vm/guest-agent/guest-agent.ts'
export type { GuestAgentShutdownOptions } from './vm/guest-agent/shutdown.ts'
export type { PlugOptions } from './vm/hotplug/hotplug.ts'
export type { PluggedDevice } from './vm/hotplug/wait-for-guest.ts'
export type { RestartOptions } from './vm/lifecycle/restart.ts'
export type { Snapshot } from './vm/lifecycle/snapshot.ts'
export type { MigrateOptions, Migration, MigrationProgress } from './vm/migration/options.ts'
export type { ConnectedPort, Peer, Port } from './vm/network/ports.ts'
export type { DetectOptions, PortsOptions } from './vm/network/topology.ts'
export type { GuestSpec } from './vm/spec/custom-guest.ts'
export type { DiskSpec } from './vm/spec/disks.ts'
export type { CpuSpec, MemorySpec, VmSpec } from './vm/spec/spec.ts'
export { Vm } from './vm/vm.ts'
