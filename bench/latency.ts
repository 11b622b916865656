import type { Vm } from '../src/vm/vm.ts'
import { inTurn, median, type Row, timeRow } from './measure.ts'
import type { RawVm } from './raw.ts'

const ROUNDS = 500

/** One command's time, against a bare loop in a waiting bash that does the same work. */
export async function latency(vm: Vm, raw: RawVm): Promise<Row[]> {
  const rows: Row[] = []
  await raw.line(
    `echo "lo"op; while IFS= read -r l; do eval "$l"; echo "E$?"; done; echo left`,
    'loop\n',
  )
  const cmd = await inTurn(
    ROUNDS,
    () => vm.cmd('true'),
    () => raw.line('true', 'E0\n'),
  )
  rows.push(timeRow("cmd('true'), p50", median(cmd.ours), median(cmd.floor), 1.5))
  await raw.line('break', 'left')
  await raw.line(`echo "lo"op; while IFS= read -r l; do (eval "$l"); echo "E$?"; done`, 'loop\n')
  const exec = await inTurn(
    ROUNDS,
    () => vm.exec('true'),
    () => raw.line('true', 'E0\n'),
  )
  rows.push(timeRow("exec('true'), p50", median(exec.ours), median(exec.floor), 1.5))
  return rows
}
