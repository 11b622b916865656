import type { Command } from 'commander'
import { type SweptHost, sweepHost } from '../fleet/sweep.ts'
import { localHost } from '../host/local.ts'
import { print, printJson } from './output.ts'

const HELP = `
Whoever holds the lock of a run's folder or of a lease is alive, and nothing of
theirs is touched. Each run begins with the same; this is for those who do not
want to wait for the next one.

Exit status:
  0  done
  1  it failed, as the message says
  2  the command line is wrong

Example:
  npx vitest-dut clean --dry-run`

export function addClean(program: Command): void {
  program
    .command('clean')
    .description('remove what is left on this machine of runs that are over')
    .option('--dry-run', 'only say what would be removed')
    .option('--json', 'print it as JSON')
    .addHelpText('after', HELP)
    .action(clean)
}

async function clean({ dryRun = false, json }: { dryRun?: boolean; json?: true }): Promise<void> {
  const swept = await sweepHost(localHost(), { dryRun })
  if (json) return printJson({ version: 1, dryRun, ...asJson(swept) })
  for (const { lease, error } of swept.failed) {
    process.stderr.write(`the lease of ${nameOf(lease)} was not given back: ${error.message}\n`)
    process.exitCode = 1
  }
  for (const { folder, error } of swept.stuck) {
    process.stderr.write(`the run folder ${folder} was not removed: ${error.message}\n`)
    process.exitCode = 1
  }
  const found = lines(swept)
  if (found.length === 0) return print('nothing is left of runs that are over')
  const verb = dryRun ? 'would remove' : 'removed'
  for (const line of found) print(`${verb} ${line}`)
}

function lines(swept: SweptHost): string[] {
  const { runs, processes, leases, wishes, bridges, owners, templates, failed } = swept
  const removed = leases.filter((lease) => !failed.some((one) => one.lease === lease))
  return [
    ...runs.map((folder) => `run folder ${folder}`),
    ...processes.map(({ pid, command }) => `process ${pid}: ${command}`),
    ...removed.map((lease) => `lease of ${nameOf(lease)}`),
    ...wishes.map(({ dut, holder }) => `place in the queue of ${dut} (${holder.user})`),
    ...bridges.map((bridge) => `bridge ${bridge}`),
    ...owners.map((owner) => `owner file ${owner}`),
    ...templates.map((folder) => `unfinished template ${folder}`),
  ]
}

function nameOf({ dut, vm, holder }: SweptHost['leases'][number]): string {
  return `${dut}/${vm ?? '-'} (${holder.user})`
}

/** The fields in an order that stays. */
function asJson(swept: SweptHost) {
  const { runs, processes, leases, wishes, bridges, owners, templates } = swept
  return {
    ...{ runs, processes },
    leases: leases.map(({ file, dut, vm, holder }) => {
      return { lease: file, dut, vm: vm ?? null, user: holder.user }
    }),
    waiting: wishes.map(({ file, dut, holder }) => ({ wish: file, dut, user: holder.user })),
    ...{ bridges, owners, templates },
  }
}
