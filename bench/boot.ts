import type { Dut } from '../src/fleet/dut.ts'
import type { Guest } from '../src/image/guest.ts'
import { median, type Row, time, timeRow } from './measure.ts'
import { bootRaw } from './raw.ts'

const ROUNDS = 3

/** N VMs at once from nothing to the first command, against the same QEMUs started bare. */
export async function boot(dut: Dut, guest: Guest, accel: string): Promise<Row[]> {
  const rows: Row[] = []
  for (const count of [1, 4]) {
    const times = { ours: [] as number[], floor: [] as number[] }
    for (let i = 0; i < ROUNDS; i++) {
      const started: { stop(): Promise<unknown> }[] = []
      times.floor.push(
        await time(async () => {
          const vms = await Promise.all(Array.from({ length: count }, () => bootRaw(guest, accel)))
          started.push(...vms.map((vm) => ({ stop: () => vm.end() })))
        }),
      )
      await Promise.all(started.splice(0).map((vm) => vm.stop()))
      times.ours.push(
        await time(async () => {
          const vms = await dut.startAll(
            Array.from({ length: count }, () => ({ boot: 'cold' as const })),
          )
          await Promise.all(vms.map((vm) => vm.cmd('true')))
          started.push(...vms.map((vm) => ({ stop: () => dut.stop(vm) })))
        }),
      )
      await Promise.all(started.map((vm) => vm.stop()))
    }
    const name = `${count} VM${count === 1 ? '' : 's'} cold`
    rows.push(timeRow(name, median(times.ours), median(times.floor), 1.15))
  }
  return rows
}
