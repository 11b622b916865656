export type { DutConfig, PluginOptions } from './runner/options.ts'
export { dut } from './runner/plugin.ts'
