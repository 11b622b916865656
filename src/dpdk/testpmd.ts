import type { Program } from '../console/program.ts'
import { UsageError } from '../errors.ts'
import { checkInteger } from '../options.ts'
import { type Duration, parseDuration } from '../units.ts'
import { poll } from '../wait.ts'
import { Drops } from './drops.ts'
import { findComplaint, withoutEvents, withoutLogs } from './output.ts'
import {
  type ForwardStats,
  type PortInfo,
  type PortStats,
  parseForwardStats,
  parsePortInfo,
  parsePortStats,
  parseXstat,
} from './stats.ts'
import { isVm, type Target, targetError } from './target.ts'

/** What testpmd does with packets (`set fwd`). */
export type ForwardMode =
  | ('io' | 'mac' | 'macswap' | 'flowgen' | 'rxonly' | 'txonly' | 'csum' | 'icmpecho' | 'noisy')
  | ('5tswap' | 'shared-rxq' | 'ieee1588')

export interface TestpmdCmdOptions {
  /** 30 s by default. */
  timeout?: Duration
  /** False: what testpmd complains about is output like any other, and comes first. */
  check?: boolean
  signal?: AbortSignal
}

/**
 * Times that counters which do not stay 0 are cleared. A software port adds to its counters at each poll,
 * packets or not, and not atomically: the old value that the polling thread has just read can come back
 * after the 0 (measured: one time in 9 with net_ring, in 100 with net_vhost). A port with traffic is not
 * seen at 0 either; there, a last clear that was undone leaves the packets since the one before.
 */
const CLEARS = 10

/** Some slices of the kernel's scheduler: so long a thread may wait where CPUs are few. */
const SLICES_MS = 30

/** Another reason for a link that does not come up in a guest: see `waitLinkUp`. */
const LOST = ` QEMU before 8.1 loses interrupts of links that change fast: args: ['--no-lsc-interrupt']`

/** A running testpmd, driven by its prompt. */
export class Testpmd implements AsyncDisposable {
  /** The terminal that it is typed into; `console.text` is all that it ever printed. */
  readonly program: Program
  /** Its --file-prefix, which no other testpmd on the machine has. */
  readonly filePrefix: string
  readonly #target: Target
  readonly #atEnd: () => Promise<void>
  readonly #drops = new Drops({
    driver: async (port) => (await this.portInfo(port)).driver,
    // The port's other statistics would have rates count anew.
    txErrors: async (port) =>
      parseXstat(await this.cmd(`show port xstats ${port}`, { check: false }), 'tx_errors') ??
      (await this.portStats(port)).txErrors,
  })

  constructor(
    target: Target,
    program: Program,
    { filePrefix, atEnd }: { filePrefix: string; atEnd: () => Promise<void> },
  ) {
    this.#atEnd = atEnd
    this.#target = target
    this.program = program
    this.filePrefix = filePrefix
  }

  /**
   * Types a line; resolves with what it printed, without echo, prompt, and what other threads logged
   * and printed meanwhile.
   *
   * @throws GuestError (in a guest) or InfrastructureError (on a DUT) when testpmd complains, although
   *   it lives on: `Bad arguments`, `Invalid port 7`, `Start ports failed`, …
   * @throws CommandTimeoutError when its prompt has not come back in time
   */
  async cmd(
    line: string,
    { timeout = '30s', check = true, signal }: TestpmdCmdOptions = {},
  ): Promise<string> {
    checkLine(line)
    const { output, steps } = await this.program.cmd(line, '', timeout, { signal })
    const answer = withoutEvents(output)
    const stderr = steps[0]?.stderr ?? ''
    if (!check) return withoutLogs(stderr) + answer
    const complaint = findComplaint(stderr) ?? findComplaint(answer)
    if (complaint === undefined) return answer
    throw targetError(this.#target, `testpmd: ${JSON.stringify(line)}: ${complaint.line}`, {
      ...{ command: line, tail: stderr + answer, hint: complaint.hint },
    })
  }

  /** Starts forwarding, in another mode where one is given; `txFirst` sends that many bursts first. */
  async start(mode?: ForwardMode, { txFirst }: { txFirst?: number } = {}): Promise<void> {
    if (mode !== undefined) await this.setForward(mode)
    const burst =
      txFirst === undefined ? '' : ` tx_first ${checkInteger('txFirst', txFirst, 1, 1e9)}`
    await this.cmd(`start${burst}`)
  }

  /** Stops forwarding; what was counted since `start`. */
  async stop(): Promise<ForwardStats> {
    return this.#drops.countedOnce(parseForwardStats(await this.cmd('stop')), true)
  }

  /** What was counted since `start`, while forwarding goes on. */
  async forwardStats(): Promise<ForwardStats> {
    return this.#drops.countedOnce(parseForwardStats(await this.cmd('show fwd stats all')), false)
  }

  /** The device's own counters of one port. */
  async portStats(port: number): Promise<PortStats> {
    const [stats] = parsePortStats(await this.cmd(`show port stats ${checkPort(port)}`))
    return stats as PortStats
  }

  /** The counters of all ports, in their order. */
  async allPortStats(): Promise<PortStats[]> {
    return parsePortStats(await this.cmd('show port stats all'))
  }

  async portInfo(port: number): Promise<PortInfo> {
    return parsePortInfo(await this.cmd(`show port info ${checkPort(port)}`))
  }

  /**
   * Sets the counters of all ports, and those of forwarding, to 0, also while forwarding goes on. Rates
   * count from here.
   */
  async clearStats(): Promise<void> {
    for (let i = 0; i < CLEARS; i++) {
      await this.cmd('clear port stats all')
      await this.cmd('clear fwd stats all')
      if (await this.#staysClear()) break
    }
    this.#drops.clear()
  }

  /** Looks twice: the thread that polls may have had to wait for a CPU with the old value in its hands. */
  async #staysClear(): Promise<boolean> {
    const isAllClear = async () => (await this.allPortStats()).every(isClear)
    if (!(await isAllClear())) return false
    let looks = 0
    await poll(() => looks++ > 0 || undefined, { everyMs: SLICES_MS })
    return isAllClear()
  }

  /** Takes effect at the next `start`. */
  async setForward(mode: ForwardMode): Promise<void> {
    await this.cmd(`set fwd ${mode}`)
  }

  /** Bytes of each segment of the packets that `txonly` sends: `64`, or `[64, 128]`. */
  async setTxPackets(sizes: number | readonly number[]): Promise<void> {
    const list = (typeof sizes === 'number' ? [sizes] : sizes).map((size) =>
      checkInteger('setTxPackets', size, 1, 65_535),
    )
    await this.cmd(`set txpkts ${list.join(',')}`)
  }

  /** Packets that are received and sent at once, 1 to 512. */
  async setBurst(packets: number): Promise<void> {
    await this.cmd(`set burst ${checkInteger('setBurst', packets, 1, 512)}`)
  }

  /**
   * Waits until the port's link is up: for a vhost port, until a guest's driver is there. In a guest testpmd
   * knows what the last interrupt told it, and QEMU before 8.1 can lose one, and with it all later ones,
   * where a link changes twice within a moment; `args: ['--no-lsc-interrupt']` has testpmd ask the device.
   */
  async waitLinkUp(port: number, { timeout = '30s' }: { timeout?: Duration } = {}): Promise<void> {
    await poll(async () => (await this.portInfo(port)).link === 'up' || undefined, {
      everyMs: 50,
      timeoutMs: parseDuration(timeout, 'waitLinkUp: timeout'),
      signal: this.program.console.life.signal,
      onTimeout: (elapsedMs) =>
        targetError(this.#target, `the link of testpmd's port ${port} did not come up`, {
          ...{ elapsedMs, tail: this.program.console.tail() },
          hint: `is its other end there, and has it a driver?${isVm(this.#target) ? LOST : ''}`,
        }),
    })
  }

  /** Ends testpmd as its user would. @throws GuestError or InfrastructureError when it fails at that */
  async quit({ timeout = '20s' }: { timeout?: Duration } = {}): Promise<void> {
    const status = await this.program.end('quit', { timeout })
    await this.#atEnd()
    if (status === 0) return
    throw targetError(this.#target, `testpmd ended with status ${status}`, {
      tail: this.program.console.tail(),
    })
  }

  /** Ends testpmd: in order, or by force where that does not work. Again does nothing. */
  async close(): Promise<void> {
    if (!this.program.console.life.ended.aborted) {
      await this.program.end('quit', { timeout: '10s' }).catch(() => this.program.close())
    }
    await this.#atEnd()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** cmdline cuts longer lines without a word (RDLINE_BUF_SIZE), and acts on control characters. */
function checkLine(line: string): void {
  if (typeof line === 'string' && line.length < 512 && !/[\x00-\x1f\x7f]/.test(line)) return
  throw new UsageError('testpmd: a command is one line of at most 511 characters', {
    hint: `load longer ones from a file: cmd('load /path')`,
  })
}

function isClear({ port: _, rxPps, rxBps, txPps, txBps, ...counted }: PortStats): boolean {
  return Object.values(counted).every((count) => count === 0)
}

function checkPort(port: number): number {
  return checkInteger('testpmd: port', port, 0, 65_535)
}
