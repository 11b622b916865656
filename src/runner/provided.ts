import type { ResolvedPluginOptions } from './options.ts'

/** What the main process gives every worker; plain data. */
export interface ProvidedRun {
  /** The run's folder. */
  folder: string
  /** The socket of the run's channel. */
  channel: string
  options: ResolvedPluginOptions
}

declare module 'vitest' {
  export interface ProvidedContext {
    vitestDut: ProvidedRun | undefined
  }
}
