/**
 * The frames of the default guest's agent, both ways: u32 length of the payload, u32 channel, u8 type,
 * three zero bytes, then the payload; little-endian (guest/helper/agent.h).
 */
export const ToGuest = {
  hello: 1,
  script: 2,
  input: 3,
  run: 4,
  signal: 5,
  pty: 6,
  data: 7,
  close: 8,
  identify: 9,
  clock: 10,
  nics: 11,
  probe: 12,
} as const

export const FromGuest = {
  hello: 0x81,
  out: 0x82,
  err: 0x83,
  exit: 0x84,
  fail: 0x85,
  clock: 0x86,
} as const

export interface Frame {
  channel: number
  type: number
  payload: Uint8Array
}

const HEADER = 12
/** The longest payload that the agent takes, and the longest that it sends. */
export const LONGEST_PAYLOAD = 64 * 1024
const LONGEST_RECEIVED = 256 * 1024

/** The frames that carry `payload`, cut where it is longer than one may be. */
export function encodeFrames(type: number, channel: number, payload: Uint8Array): Buffer {
  const count = Math.max(1, Math.ceil(payload.length / LONGEST_PAYLOAD))
  const out = Buffer.alloc(payload.length + count * HEADER)
  let at = 0
  for (let i = 0; i < count; i++) {
    const piece = payload.subarray(i * LONGEST_PAYLOAD, (i + 1) * LONGEST_PAYLOAD)
    out.writeUInt32LE(piece.length, at)
    out.writeUInt32LE(channel, at + 4)
    out.writeUInt8(type, at + 8)
    out.set(piece, at + HEADER)
    at += HEADER + piece.length
  }
  return out
}

/** Cuts a byte stream into frames, however the reads fall. */
export class FrameReader {
  #pieces: Uint8Array[] = []
  #length = 0

  push(data: Uint8Array): Frame[] {
    this.#pieces.push(data)
    this.#length += data.length
    const frames: Frame[] = []
    while (this.#length >= HEADER) {
      const payloadLength = this.#peek(HEADER).readUInt32LE(0)
      if (payloadLength > LONGEST_RECEIVED) {
        throw new Error(`the guest's agent sent a frame of ${payloadLength} bytes: out of step`)
      }
      if (this.#length < HEADER + payloadLength) break
      const whole = this.#take(HEADER + payloadLength)
      const channel = whole.readUInt32LE(4)
      frames.push({ channel, type: whole.readUInt8(8), payload: whole.subarray(HEADER) })
    }
    return frames
  }

  /** Part of a frame has come, and the rest has not. */
  get isInFrame(): boolean {
    return this.#length > 0
  }

  #peek(length: number): Buffer {
    if ((this.#pieces[0]?.length ?? 0) < length) this.#pieces = [Buffer.concat(this.#pieces)]
    const first = this.#pieces[0] as Uint8Array
    return Buffer.from(first.buffer, first.byteOffset, first.length)
  }

  #take(length: number): Buffer {
    const first = this.#peek(length)
    if (first.length === length) this.#pieces.shift()
    else this.#pieces[0] = first.subarray(length)
    this.#length -= length
    return first.subarray(0, length)
  }
}
