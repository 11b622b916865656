import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import {
  encodeFrames,
  type Frame,
  FrameReader,
  FromGuest,
  ToGuest,
} from '../../src/guest-protocol/frames.ts'
import type { Pty } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { ensureGuest } from '../../src/image/guest.ts'
import { poll, waitFor } from '../../src/wait.ts'

const PATIENCE_MS = 25_000

export interface Outcome {
  status: number
  out: Buffer
  err: Buffer
  /** The text of a FAIL frame. */
  fail?: string
}

/** The default guest under a bare QEMU, with nothing of this package between it and the test. */
export class RawGuest {
  readonly #dir: string
  readonly #qemu: Pty
  /** The agent's port. */
  readonly stream: Duplex
  readonly #heard: Frame[] = []
  // An Agent at the same port counts from 1.
  #lastChannel = 1_000_000
  readonly #console: () => string

  private constructor(dir: string, qemu: Pty, stream: Duplex, console: () => string) {
    this.#dir = dir
    this.#qemu = qemu
    this.stream = stream
    this.#console = console
    const reader = new FrameReader()
    stream.on('data', (data: Uint8Array) => this.#heard.push(...reader.push(data)))
    stream.on('error', () => {})
  }

  static async boot(): Promise<RawGuest> {
    const host = localHost()
    const guest = await ensureGuest({ host })
    const dir = await mkdtemp(join(tmpdir(), 'raw-guest-'))
    const listener = await host.listen(`${dir}/agent`)
    const qemu = host.openPty('qemu-system-x86_64', [
      ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-machine', 'q35', '-m', '512M'],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-kernel', guest.kernel, '-initrd', guest.initrd],
      ...['-append', `${guest.append} dut.hostname=raw0`],
      ...['-drive', `if=none,id=root,format=raw,readonly=on,file=${guest.root}`],
      ...['-device', 'virtio-blk-pci,drive=root,serial=vitest-dut-root'],
      ...['-device', 'virtio-serial-pci', '-chardev', 'stdio,id=console,signal=off'],
      ...['-device', 'virtconsole,chardev=console'],
      ...['-chardev', `socket,id=agent,path=${dir}/agent`],
      ...['-device', 'virtserialport,chardev=agent,name=vitest-dut.agent'],
      ...['-serial', `file:${dir}/kernel-log`],
      ...['-qmp', `unix:${dir}/qmp,server=on,wait=off`],
    ])
    let console = ''
    qemu.onData((data) => {
      console += Buffer.from(data).toString('latin1')
    })
    const stream = await waitFor(listener.connection, { timeoutMs: PATIENCE_MS })
    const self = new RawGuest(dir, qemu, stream, () => console)
    await self.hello()
    return self
  }

  /** All that the console has shown, as the guest wrote it: QEMU's own terminal adds the \r. */
  get console(): string {
    return this.#console().replaceAll('\r\n', '\n')
  }

  get exited() {
    return this.#qemu.exited
  }

  get qmpPath() {
    return `${this.#dir}/qmp`
  }

  kernelLog(): Promise<string> {
    return readFile(`${this.#dir}/kernel-log`, 'latin1')
  }

  write(text: string): void {
    this.#qemu.write(text)
  }

  open(): number {
    return ++this.#lastChannel
  }

  send(channel: number, type: keyof typeof ToGuest, payload: string | Uint8Array = ''): void {
    const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload
    this.stream.write(encodeFrames(ToGuest[type], channel, bytes))
  }

  frames(channel: number): Frame[] {
    return this.#heard.filter((frame) => frame.channel === channel)
  }

  out(channel: number, type: number = FromGuest.out): Buffer {
    const frames = this.frames(channel).filter((frame) => frame.type === type)
    return Buffer.concat(frames.map((frame) => frame.payload))
  }

  /** Waits until the channel's output so far holds the text. */
  printed(channel: number, text: string): Promise<true> {
    return this.until(() => this.out(channel).includes(text), `"${text}" on channel ${channel}`)
  }

  until(probe: () => boolean | Promise<boolean>, what: string): Promise<true> {
    return poll(async () => (await probe()) || undefined, {
      everyMs: 2,
      timeoutMs: PATIENCE_MS,
      onTimeout: () =>
        new Error(`still waiting for ${what}; the console shows ${JSON.stringify(this.console)}`),
    }) as Promise<true>
  }

  async hello(nonce: string = crypto.randomUUID()): Promise<string> {
    const answer = () =>
      this.frames(0).find(({ payload }) => Buffer.from(payload).toString().startsWith(nonce))
    this.send(0, 'hello', nonce)
    await this.until(() => answer() !== undefined, 'an answer to HELLO')
    return Buffer.from(answer()?.payload ?? '').toString()
  }

  /** The last frame of a channel and all that came before it. */
  async ended(channel: number): Promise<Outcome> {
    const isLast = ({ type }: Frame) => type === FromGuest.exit || type === FromGuest.fail
    await this.until(() => this.frames(channel).some(isLast), `the end of channel ${channel}`)
    const last = this.frames(channel).find(isLast) as Frame
    const payload = Buffer.from(last.payload)
    const failed = last.type === FromGuest.fail
    return {
      status: failed ? -1 : payload.readInt32LE(0),
      out: this.out(channel),
      err: this.out(channel, FromGuest.err),
      ...(failed ? { fail: payload.toString() } : {}),
    }
  }

  start(script: string, { input, apart = false }: RunWith = {}): number {
    const channel = this.open()
    this.send(channel, 'script', script)
    if (input !== undefined) this.send(channel, 'input', input)
    this.send(channel, 'run', Uint8Array.of(apart ? 1 : 0))
    return channel
  }

  run(script: string, how?: RunWith): Promise<Outcome> {
    return this.ended(this.start(script, how))
  }

  startPty(command: string, { rows = 24, cols = 80, apart = false } = {}): number {
    const channel = this.open()
    const how = Buffer.alloc(5)
    how.writeUInt16LE(rows, 0)
    how.writeUInt16LE(cols, 2)
    how.writeUInt8(apart ? 1 : 0, 4)
    this.send(channel, 'pty', Buffer.concat([how, Buffer.from(command)]))
    return channel
  }

  async stop(): Promise<void> {
    this.#qemu.kill()
    await this.#qemu.exited
    await rm(this.#dir, { recursive: true, force: true })
  }
}

interface RunWith {
  input?: string | Uint8Array
  apart?: boolean
}
