import { formatDuration } from '../units.ts'

/** One suite of a run, for the closing table. */
export interface SuiteSummary {
  suite: string
  vms: { dut: string; vm: string; bootMs: number }[]
  /** What tests said of themselves (Vitest's annotations), in order. */
  notes: { test: string; state: string; text: string }[]
}

/** Explains the table's times; lines that tell how VMs start also count waiting, and saving a template. */
export const SUMMARY_TITLE =
  'VMs (ready after: from the start of its QEMU to the first answer of its shell)'

/** A table of what happened: each suite's VMs, how long each took to be ready, what tests noted. */
export function summaryTable(suites: readonly SuiteSummary[]): string {
  const rows: string[][] = []
  for (const { suite, vms, notes } of suites) {
    rows.push([suite, `${vms.length} VM${vms.length === 1 ? '' : 's'}`, ''])
    for (const { dut, vm, bootMs } of vms) {
      rows.push(['', `${dut}/${vm}`, `ready after ${formatDuration(bootMs)}`])
    }
    for (const { test, state, text } of notes) rows.push(['', `${state} ${test}`, text])
  }
  const widths = [0, 1, 2].map((column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0), 0),
  )
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
