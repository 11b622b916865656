/** One row of the table: our figure beside the floor that was measured in the same run. */
export interface Row {
  what: string
  ours: string
  floor: string
  /** Ours over the floor where less is better, the floor's part where more is. */
  ratio: number
  /** What the ratio is to be. */
  target: string
  ok: boolean
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** Milliseconds that `fn` takes. */
export async function time(fn: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await fn()
  return performance.now() - startedAt
}

/**
 * Times both in turn, A B A B …, so that a machine that grows slower or faster is so for both.
 *
 * @returns all times in milliseconds
 */
export async function inTurn(
  rounds: number,
  ours: () => Promise<unknown>,
  floor: () => Promise<unknown>,
): Promise<{ ours: number[]; floor: number[] }> {
  const times = { ours: [] as number[], floor: [] as number[] }
  for (let i = 0; i < rounds; i++) {
    times.ours.push(await time(ours))
    times.floor.push(await time(floor))
  }
  return times
}

/** A row for times: at most `target` times the floor. */
export function timeRow(what: string, ours: number, floor: number, target: number): Row {
  const ratio = ours / floor
  const [a, b] = [ours, floor].map((ms) => `${ms.toFixed(ms < 100 ? 2 : 0)} ms`)
  return { what, ours: a ?? '', floor: b ?? '', ratio, target: `<= ${target}`, ok: ratio <= target }
}

/** A row for rates in MB/s: at least `target` of the floor, and at least `least` MB/s. */
export function rateRow(
  what: string,
  { bytes, ours, floor }: { bytes: number; ours: number; floor: number },
  target: number,
  least: number,
): Row {
  const [a = 0, b = 0] = [ours, floor].map((ms) => bytes / 1000 / ms)
  return {
    what,
    ours: `${a.toFixed(1)} MB/s`,
    floor: `${b.toFixed(1)} MB/s`,
    ratio: a / b,
    target: `>= ${target}, >= ${least} MB/s`,
    ok: a / b >= target && a >= least,
  }
}

export function printTable(rows: readonly Row[]): void {
  const cells = rows.map(({ what, ours, floor, ratio, target, ok }) => [
    ...[what, ours, floor, ratio.toFixed(2), target, ok ? 'ok' : 'MISSED'],
  ])
  const table = [['', 'ours', 'floor', 'ratio', 'target', ''], ...cells]
  const widths = table[0]?.map((_, i) => Math.max(...table.map((row) => row[i]?.length ?? 0))) ?? []
  for (const row of table) {
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
  }
}
