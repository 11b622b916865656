import { MarkReader, RS } from '../../src/console/marks.ts'
import { type Token, Tokenizer } from '../../src/console/tokens.ts'

/** A reader whose secret is known, so that a stream can be written down before it. */
export function readerWith(secret: string): MarkReader {
  const reader = new MarkReader()
  Object.defineProperty(reader, 'secret', { value: secret })
  return reader
}

/** Marks of a console whose secret is `5ec0`. */
export const SECRET = '5ec0'
export const mark = (body: string) => `${RS}${SECRET}${body}${RS}`
export const banner = (pid: number) => `${RS}dut-shell ${pid}${RS}\n`

/** What a tokenizer makes of the pieces; neighbouring texts are one. */
export function tokensOf(pieces: readonly Uint8Array[]): Token[] {
  const tokenizer = new Tokenizer(readerWith(SECRET))
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
