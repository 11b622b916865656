export type { VirtElement, VirtParams, VirtValue } from '../virt/values.ts'
export { parseVirtConfig, readVirtConfig, type VirtConfig } from '../virt/virt-config.ts'
export { type ConvertedVm, convertVirtParams } from '../virt/virt-params.ts'
export { MultipleVM, type MultipleVmOptions, type TaskResult } from './multiple-vm.ts'
export type {
  Action,
  CmdConfig,
  MigrationConfig,
  StartConfig,
  StopConfig,
  VirtConfigArgument,
} from './tasks.ts'
