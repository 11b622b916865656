import { MarkReader, RS } from '../../src/console/marks.ts'
import { type Token, Tokenizer } from '../../src/console/tokens.ts'

/** A reader of which lines with those ids were typed, so that a stream can be written down before it. */
export function readerOf(...ids: string[]): MarkReader {
  const reader = new MarkReader()
  for (const id of ids) reader.await(id)
  return reader
}

/** The beginning of the ids of a console, whose lines 1 to 9 are answered in any order. */
export const ID = '5ec'
export const mark = (body: string) => `${RS}${ID}${body}${RS}`
/** A mark of full length. */
export const end = (line: number, status: number) => mark(`${line}:${line}:himBHs::0:${status}`)
/** A short one, with the line end that belongs to it. */
export const short = (line: number, status: number) => `${mark(`${line}=:${status}`)}\n`
export const banner = (pid: number) => `${RS}dut-shell ${pid}${RS}\n`

/** What a tokenizer makes of the pieces; neighbouring texts are one. */
export function tokensOf(pieces: readonly Uint8Array[]): Token[] {
  const tokenizer = new Tokenizer(readerOf(...[...'987654321'].map((line) => ID + line)))
  const joined: Token[] = []
  for (const token of pieces.flatMap((piece) => tokenizer.push(piece))) {
    const last = joined.at(-1)
    if (last && 'text' in last && 'text' in token) last.text += token.text
    else joined.push({ ...token })
  }
  return joined
}

/** Every way to cut a stream into two reads, and into single bytes. */
export function cutsOf(stream: string): { name: string; pieces: Uint8Array[] }[] {
  const bytes = Buffer.from(stream)
  const twos = Array.from({ length: bytes.length + 1 }, (_, at) => ({
    name: `cut at ${at} of ${bytes.length}`,
    pieces: [bytes.subarray(0, at), bytes.subarray(at)],
  }))
  return [...twos, { name: 'byte by byte', pieces: Array.from(bytes, (byte) => Buffer.of(byte)) }]
}
