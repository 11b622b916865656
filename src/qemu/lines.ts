const NEWLINE = 0x0a

/**
 * Cuts bytes into lines, however they were cut into reads. Lines are decoded whole, so a character
 * may straddle two reads, and the pieces of a long line are joined once.
 */
export function lineSplitter(onLine: (line: string) => void): (chunk: Uint8Array) => void {
  let pieces: Uint8Array[] = []
  return (chunk) => {
    let from = 0
    for (;;) {
      const to = chunk.indexOf(NEWLINE, from)
      if (to < 0) break
      pieces.push(chunk.subarray(from, to))
      const line = Buffer.concat(pieces).toString('utf8')
      pieces = []
      from = to + 1
      onLine(line)
    }
    if (from < chunk.length) pieces.push(chunk.subarray(from))
  }
}
