import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { Agent } from '../../src/guest-protocol/agent.ts'
import { encodeFrames, FrameReader, FromGuest, ToGuest } from '../../src/guest-protocol/frames.ts'
import { localHost } from '../../src/host/local.ts'
import { Lifeline } from '../../src/lifeline.ts'
import { poll } from '../../src/wait.ts'

/** What the guest's end heard, in words. */
export interface Heard {
  channel: number
  type: keyof typeof ToGuest
  text: string
  payload: Uint8Array
}

const NAMES = new Map(Object.entries(ToGuest).map(([name, type]) => [type as number, name]))

/** A client of the agent, and the guest's end of its socket, which answers as the test says. */
export async function agentPeer() {
  const dir = await mkdtemp(join(tmpdir(), 'agent-'))
  const { connection } = await localHost().listen(join(dir, 'port'))
  const guest: Socket = connect(join(dir, 'port'))
  const stream = await connection
  const broken: Error[] = []
  const agent = new Agent(stream, (error) => void broken.push(error))
  const heard: Heard[] = []
  let answer: (frame: Heard) => void = () => {}
  const reader = new FrameReader()
  guest.on('data', (data) => {
    for (const { channel, type, payload } of reader.push(data)) {
      const frame = {
        channel,
        type: NAMES.get(type) as Heard['type'],
        text: `${Buffer.from(payload)}`,
        payload,
      }
      heard.push(frame)
      answer(frame)
    }
  })
  guest.on('error', () => {})
  onTestFinished(async () => {
    guest.destroy()
    stream.destroy()
    await rm(dir, { recursive: true })
  })
  const say = (type: keyof typeof FromGuest, channel: number, payload: string | Uint8Array = '') =>
    void guest.write(encodeFrames(FromGuest[type], channel, Buffer.from(payload)))
  return {
    agent,
    life: new Lifeline(),
    where: { vm: 'vm0', dut: 'dut0' },
    guest,
    stream,
    broken,
    heard,
    say,
    exit: (channel: number, status: number) => {
      const payload = Buffer.alloc(4)
      payload.writeInt32LE(status)
      say('exit', channel, payload)
    },
    /** Has each frame that comes answered; those that came before are given at once. */
    onFrame: (listener: (frame: Heard) => void) => {
      answer = listener
      for (const frame of heard) listener(frame)
    },
    /** The first frame of the type that the guest's end hears. */
    until: (type: Heard['type'], which: (frame: Heard) => boolean = () => true) =>
      poll(() => heard.find((frame) => frame.type === type && which(frame)), {
        timeoutMs: 5000,
        onTimeout: () => new Error(`no ${type}, but ${JSON.stringify(heard)}`),
      }),
  }
}
