import type { ResolvedPluginOptions } from './options.ts'

/** What the main process gives every worker; plain data. */
export interface ProvidedRun {
  /** Vitest's root: suites are named by their path below it. */
  root: string
  /** The run's folder. */
  folder: string
  /** The socket of the run's channel. */
  channel: string
  options: ResolvedPluginOptions
  /** Why there is neither, where there is none. */
  refusal?: { message: string; hint?: string }
}

declare module 'vitest' {
  export interface ProvidedContext {
    vitestDut: ProvidedRun | undefined
  }
}
