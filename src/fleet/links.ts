import type { Host } from '../host/host.ts'
import { type Hub, openHub } from '../qemu/hub.ts'
import type { ReservedSegment } from '../vm/instance/host-services.ts'

interface LinksOptions {
  host: Host
  qemu: string
  /** The suite's folder. */
  dir: string
  /** Added to the environment of the hubs. */
  env?: Record<string, string>
}

/** The Ethernet segments of one suite on one DUT, each opened when it is first named. */
export class Links {
  readonly #hubs = new Map<string, Promise<Hub>>()
  readonly #options: LinksOptions

  constructor(options: LinksOptions) {
    this.#options = options
  }

  /** A fresh socket on a segment, for one NIC. */
  async port(name: string): Promise<string> {
    return (await this.#hub(name)).port()
  }

  /** The path of a socket that is on the segment from the call of `open` on. */
  async reserve(name: string): Promise<ReservedSegment> {
    const hub = await this.#hub(name)
    const path = hub.reserve()
    return { link: name, path, open: () => hub.open(path) }
  }

  /** Takes a socket off a segment whose NIC is gone. */
  async leave(name: string, port: string): Promise<void> {
    await (await this.#hubs.get(name))?.removePort(port)
  }

  async close(): Promise<void> {
    const hubs = await Promise.allSettled(this.#hubs.values())
    await Promise.all(hubs.map((hub) => hub.status === 'fulfilled' && hub.value.close()))
    this.#hubs.clear()
  }

  #hub(name: string): Promise<Hub> {
    const opening = this.#hubs.get(name) ?? this.#open(name)
    this.#hubs.set(name, opening)
    return opening
  }

  async #open(name: string): Promise<Hub> {
    const { host, qemu, dir, env } = this.#options
    const folder = `${dir}/link@${this.#hubs.size}` // no VM's folder can be named so
    await host.makeDir(folder, 0o700)
    return openHub({ host, qemu, dir: folder, name, env })
  }
}
