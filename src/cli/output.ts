import { clearLine, cursorTo } from 'node:readline'
import type { WriteStream } from 'node:tty'

/** For the help of commands that are done or fail. */
export const STATUSES = `
Exit status:
  0  done
  1  it failed, as the message says
  2  the command line is wrong`

/** Whoever reads us may have enough before the end, as `head` does: that is no error. */
export function ignoreBrokenPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
    })
  }
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, 2))
}

/**
 * Lines of aligned columns.
 *
 * @param style makes what is printed of a cell; it takes no part in the widths
 */
export function table(
  rows: readonly (readonly string[])[],
  style: (cell: string, column: number) => string = (cell) => cell,
): string[] {
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0))
  const widths = (rows[0] ?? []).map((_, column) => width(column))
  return rows.map((row) => {
    const cells = row.map((cell, i) => style(cell, i) + ' '.repeat((widths[i] ?? 0) - cell.length))
    return cells.join('  ').trimEnd()
  })
}

/** What is under way, on standard error: one line that changes on a terminal, else a line for each. */
export class StatusLine {
  readonly #terminal: WriteStream | undefined = process.stderr.isTTY ? process.stderr : undefined
  #kind = ''

  show(text: string): void {
    this.clear()
    if (this.#terminal === undefined) this.#log(text)
    else this.#terminal.write(text.slice(0, Math.max(1, this.#terminal.columns - 1)))
  }

  clear(): void {
    if (this.#terminal === undefined) return
    cursorTo(this.#terminal, 0)
    clearLine(this.#terminal, 1)
  }

  /** In a log one line for each kind of work, not for each number in it. */
  #log(text: string): void {
    const kind = text.replaceAll(/[\d.]+/g, '')
    if (kind !== this.#kind) process.stderr.write(`${text}\n`)
    this.#kind = kind
  }
}

/** Bytes for people, rounded: `131M`, `1.1G`. */
export function roughSize(bytes: number): string {
  for (const [unit, size] of [
    ['G', 2 ** 30],
    ['M', 2 ** 20],
    ['K', 2 ** 10],
  ] as const) {
    if (bytes < size) continue
    const count = bytes / size
    return `${count < 9.95 ? count.toFixed(1) : Math.round(count)}${unit}`
  }
  return `${bytes}B`
}

/** Milliseconds for people, rounded: `12 s`, `5 min`, `3 h`, `2 days`. */
export function roughAge(ms: number): string {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 60) return `${Math.floor(seconds)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} days`
}
