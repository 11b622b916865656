/** What is told while a fleet starts; plain data, so that it can cross processes. */
export type Progress =
  /** A line for people; `once` where it need not be said again in this run. */
  | { kind: 'note'; dut: string; line: string; once?: boolean }
  /** A VM has reached a stage of its boot; `stage` is `ready`, `failed` or the stage's name. */
  | { kind: 'vm'; dut: string; vm: string; stage: string; elapsedMs: number; of: number }

export type ProgressListener = (progress: Progress) => void
