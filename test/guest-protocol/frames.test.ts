import { describe, expect, test } from 'vitest'
import {
  encodeFrames,
  type Frame,
  FrameReader,
  LONGEST_PAYLOAD,
} from '../../src/guest-protocol/frames.ts'
import { growth, NOISE } from '../support/growth.ts'

const plain = ({ channel, type, payload }: Frame) => ({
  ...{ channel, type },
  payload: Buffer.from(payload).toString('latin1'),
})
const read = (pieces: readonly Uint8Array[]) => {
  const reader = new FrameReader()
  return pieces.flatMap((piece) => reader.push(piece)).map(plain)
}

describe('a frame', () => {
  test('is laid out as the agent expects it', () => {
    const bytes = encodeFrames(2, 0x01020304, Buffer.from('ab'))
    expect([...bytes]).toEqual([2, 0, 0, 0, 4, 3, 2, 1, 2, 0, 0, 0, 97, 98])
  })

  test('carries no more than the agent takes', () => {
    expect(LONGEST_PAYLOAD).toBe(65_536)
  })

  test('may carry nothing', () => {
    expect([...encodeFrames(8, 5, Buffer.alloc(0))]).toEqual([0, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0])
  })

  test.each([
    [LONGEST_PAYLOAD - 1, [LONGEST_PAYLOAD - 1]],
    [LONGEST_PAYLOAD, [LONGEST_PAYLOAD]],
    [LONGEST_PAYLOAD + 1, [LONGEST_PAYLOAD, 1]],
    [2 * LONGEST_PAYLOAD, [LONGEST_PAYLOAD, LONGEST_PAYLOAD]],
  ])('with %d bytes is sent as %j', (length, lengths) => {
    const payload = Buffer.alloc(length, 'x')
    payload[length - 1] = 0xff
    const frames = read([encodeFrames(3, 7, payload)])
    expect(frames.map((frame) => frame.payload.length)).toEqual(lengths)
    expect(frames.every((frame) => frame.channel === 7 && frame.type === 3)).toBe(true)
    expect(frames.map((frame) => frame.payload).join('')).toBe(payload.toString('latin1'))
  })
})

describe('a stream of frames', () => {
  const stream = Buffer.concat([
    encodeFrames(0x82, 1, Buffer.from('out\xff\n', 'latin1')),
    encodeFrames(0x84, 1, Buffer.of(0, 0, 0, 0)),
    encodeFrames(0x82, 2 ** 32 - 1, Buffer.alloc(0)),
    encodeFrames(0x83, 3, Buffer.from('x'.repeat(50))),
  ])
  const wanted = read([stream])

  test('is read frame by frame', () => {
    expect(wanted).toEqual([
      { channel: 1, type: 0x82, payload: 'out\xff\n' },
      { channel: 1, type: 0x84, payload: '\0\0\0\0' },
      { channel: 2 ** 32 - 1, type: 0x82, payload: '' },
      { channel: 3, type: 0x83, payload: 'x'.repeat(50) },
    ])
  })

  test('is read the same however it is cut', () => {
    for (let at = 0; at <= stream.length; at++) {
      expect(read([stream.subarray(0, at), stream.subarray(at)]), `cut at ${at}`).toEqual(wanted)
    }
    expect(read(Array.from(stream, (byte) => Buffer.of(byte)))).toEqual(wanted)
  })

  test('that is out of step is an error, not a wait for ever', () => {
    const bytes = Buffer.from('login: root\nnot a frame')
    expect(() => read([bytes])).toThrow(/sent a frame of \d+ bytes: out of step/)
    const longest = encodeFrames(1, 1, Buffer.alloc(LONGEST_PAYLOAD))
    expect(read([longest])).toHaveLength(1)
  })

  test('eight times as long takes about eight times as long', () => {
    const one = encodeFrames(0x82, 1, Buffer.alloc(LONGEST_PAYLOAD))
    const work = (count: number) => {
      const reader = new FrameReader()
      let frames = 0
      for (let i = 0; i < count; i++) {
        for (let at = 0; at < one.length; at += 1000) {
          frames += reader.push(one.subarray(at, at + 1000)).length
        }
      }
      expect(frames).toBe(count)
    }
    expect(growth(work, { size: 40 })).toBeLessThan(NOISE)
  })
})
