import { styleText } from 'node:util'
import type { Command } from 'commander'
import { lookAtAll, type Result } from './checks/all.ts'
import type { Status } from './checks/check.ts'
import { print, printJson, StatusLine, table } from './output.ts'

const HELP = `
Each check is ok, degraded (all works, but slower, or something cannot be used)
or missing (no VM runs). An arrow points at the line to type.

Exit status:
  0  nothing is missing
  1  something is missing
  2  the command line is wrong

Examples:
  npx vitest-dut doctor
  npx vitest-dut doctor --json | jq -r '.checks[] | select(.fix) | .fix'`

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('look at what this machine has for running VMs, and what it lacks')
    .option('--json', 'print the checks as JSON')
    .addHelpText('after', HELP)
    .action(async ({ json }: { json?: true }) => {
      const results = await look()
      const ok = results.every(({ status }) => status !== 'missing')
      if (json) printJson({ version: 1, ok, checks: results })
      else for (const line of lines(results)) print(line)
      process.exitCode = ok ? 0 : 1
    })
}

async function look(): Promise<Result[]> {
  if (!process.stderr.isTTY) return lookAtAll(() => {})
  const status = new StatusLine()
  try {
    return await lookAtAll((names) => status.show(`looking at ${names.join(', ')} …`))
  } finally {
    status.clear()
  }
}

const COLOURS = { ok: 'green', degraded: 'yellow', missing: 'red' } as const

/** One line for each check, the fix below its detail, and a count. */
function lines(results: readonly Result[]): string[] {
  const rows = results.flatMap(({ status, check, detail, fix }) => [
    [status, check, detail],
    ...(fix === undefined ? [] : [['', '', `→ ${fix}`]]),
  ])
  const count = (wanted: Status) => results.filter(({ status }) => status === wanted).length
  return [
    ...table(rows, (cell, column) => (column === 0 ? coloured(cell) : cell)),
    '',
    `${count('missing')} missing, ${count('degraded')} degraded`,
  ]
}

/** Node looks whether standard output is a terminal, and at NO_COLOR. */
function coloured(status: string): string {
  const colour = COLOURS[status as Status]
  return colour === undefined ? status : styleText(colour, status, { stream: process.stdout })
}
