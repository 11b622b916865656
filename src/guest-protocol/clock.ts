import { performance } from '../time.ts'
/** What one question after the guest's clock told. */
export interface Reading {
  /** How far that clock is behind ours. */
  behindMs: number
  /** How long question and answer were on their way: it may be wrong by half of that. */
  roundTripMs: number
}

/**
 * Reads an answer to a question after the guest's clock: what it shows, and how long the guest worked on
 * the answer, which is no part of the way there and back (RFC 5905, section 8). Both are nanoseconds.
 *
 * @param sentAt milliseconds of our clock when the question was sent, and when the answer came
 */
export function readingOf(answer: Uint8Array, sentAt: number, cameAt: number): Reading {
  const at = (byte: number) => Number(Buffer.from(answer).readBigInt64LE(byte)) / 1e6
  const [answeredAt, heldMs] = [at(0), at(8)]
  return {
    behindMs: (sentAt - (answeredAt - heldMs) + cameAt - answeredAt) / 2,
    roundTripMs: cameAt - sentAt - heldMs,
  }
}

/** A round trip that is short enough; after a few, a fair one will do. */
const SHORT_TRIP_MS = 50
const FEW_TRIPS = 5
const FAIR_TRIP_MS = 80
const PATIENCE_MS = 2000

/** Reads until a round trip was short enough, but not for ever: what the shortest one told. */
export async function nearest(read: () => Promise<Reading>, first?: Reading): Promise<Reading> {
  const until = performance.now() + PATIENCE_MS
  let best = first ?? (await read())
  for (let trips = 1; performance.now() < until; trips++) {
    if (best.roundTripMs <= (trips < FEW_TRIPS ? SHORT_TRIP_MS : FAIR_TRIP_MS)) break
    const next = await read()
    if (next.roundTripMs < best.roundTripMs) best = next
  }
  return best
}

/** The step of a clock, as the guest wants it: nanoseconds. */
export function step(ms: number): Uint8Array {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64LE(BigInt(Math.round(ms * 1e6)))
  return bytes
}
