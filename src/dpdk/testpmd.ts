import { shellQuote } from '../console/line.ts'
import type { Program } from '../console/program.ts'
import { DutError, UsageError } from '../errors.ts'
import { checkInteger } from '../options.ts'
import { defer } from '../scope.ts'
import { type Duration, parseDuration } from '../units.ts'
import { poll } from '../wait.ts'
import { reserveHugepages } from './hugepages.ts'
import {
  type ResolvedTestpmd,
  resolveTestpmd,
  type TestpmdOptions,
  testpmdCommand,
} from './options.ts'
import { cleanOutput, findComplaint, PROMPT, UNUSABLE } from './output.ts'
import { startError } from './start-error.ts'
import {
  type ForwardStats,
  type PortInfo,
  type PortStats,
  parseForwardStats,
  parsePortInfo,
  parsePortStats,
} from './stats.ts'
import { isVm, type Target, targetError } from './target.ts'

/** What testpmd does with packets (`set fwd`). */
export type ForwardMode =
  | ('io' | 'mac' | 'macswap' | 'flowgen' | 'rxonly' | 'txonly' | 'csum' | 'icmpecho' | 'noisy')
  | ('5tswap' | 'shared-rxq' | 'ieee1588')

export interface TestpmdCmdOptions {
  /** 30 s by default. */
  timeout?: Duration
  /** False: what testpmd complains about is output like any other. */
  check?: boolean
  signal?: AbortSignal
}

/**
 * Starts testpmd in a guest or on a DUT and waits for its prompt. It ends with the test that started
 * it, or else with the suite; nothing of it stays behind then.
 *
 * In a guest whose NIC is bound to a userspace driver (see `bindDriver`) it needs no options. On a
 * DUT, name its `vdevs` or `ports`.
 *
 * @throws GuestError in a guest and InfrastructureError on a DUT, with EAL's own lines, when it does
 *   not start, has no port, or a port does not start
 * @throws UsageError for an unknown option or a bad value
 */
export async function testpmd(target: Target, options: TestpmdOptions = {}): Promise<Testpmd> {
  const resolved = resolveTestpmd(options, isVm(target) ? 'vm' : 'dut')
  const deadline = performance.now() + parseDuration(resolved.timeout, 'testpmd: timeout')
  const { cpus } = await prepare(target, resolved)
  const argv = testpmdCommand(resolved, cpus)
  const command = argv.map(shellQuote).join(' ')
  const fail = (error: unknown, printed: string) => startError(target, { error, printed, command })
  let program: Program
  try {
    const timeout = `${Math.max(1, Math.round(deadline - performance.now()))}ms`
    program = await spawn(target, argv, { prompt: PROMPT, timeout })
  } catch (error) {
    throw fail(error, error instanceof DutError ? (error.tail ?? '') : '')
  }
  const printed = program.console.text
  const started = new Testpmd(target, program, resolved)
  if (UNUSABLE.test(printed)) {
    await started.close()
    throw fail(undefined, printed)
  }
  defer(() => started.close())
  return started
}

/** A running testpmd, driven by its prompt. */
export class Testpmd implements AsyncDisposable {
  /** The terminal that it is typed into; `console.text` is all that it ever printed. */
  readonly program: Program
  /** What its command line has and no other's, for `pgrep -f`. */
  readonly filePrefix: string
  readonly #target: Target

  constructor(target: Target, program: Program, { filePrefix }: { filePrefix: string }) {
    this.#target = target
    this.program = program
    this.filePrefix = filePrefix
  }

  /**
   * Types a line; resolves with what it printed, without echo, prompt, and the log lines of other
   * threads that came in between.
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
    const { output } = await this.program.cmd(line, '', timeout, { signal })
    const complaint = check ? findComplaint(output) : undefined
    if (complaint !== undefined) {
      throw targetError(this.#target, `testpmd: ${JSON.stringify(line)}: ${complaint.line}`, {
        ...{ command: line, tail: output, hint: complaint.hint },
      })
    }
    return cleanOutput(output, line)
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
    return parseForwardStats(await this.cmd('stop'))
  }

  /** What was counted since `start`, while forwarding goes on. */
  async forwardStats(): Promise<ForwardStats> {
    return parseForwardStats(await this.cmd('show fwd stats all'))
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

  /** Sets the counters of all ports, and those of forwarding, to 0. */
  async clearStats(): Promise<void> {
    await this.cmd('clear port stats all')
    await this.cmd('clear fwd stats all')
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

  /** Waits until the port's link is up: for a vhost port, until a guest's driver is there. */
  async waitLinkUp(port: number, { timeout = '30s' }: { timeout?: Duration } = {}): Promise<void> {
    await poll(async () => (await this.portInfo(port)).link === 'up' || undefined, {
      everyMs: 50,
      timeoutMs: parseDuration(timeout, 'waitLinkUp: timeout'),
      signal: this.program.console.life.signal,
      onTimeout: (elapsedMs) =>
        targetError(this.#target, `the link of testpmd's port ${port} did not come up`, {
          ...{ elapsedMs, tail: this.program.console.tail() },
          hint: 'is its other end there, and has it a driver?',
        }),
    })
  }

  /** Ends testpmd as its user would. @throws GuestError or InfrastructureError when it fails at that */
  async quit({ timeout = '20s' }: { timeout?: Duration } = {}): Promise<void> {
    const status = await this.program.end('quit', { timeout })
    if (status === 0) return
    throw targetError(this.#target, `testpmd ended with status ${status}`, {
      tail: this.program.console.tail(),
    })
  }

  /** Ends testpmd: in order, or by force where that does not work. Again does nothing. */
  async close(): Promise<void> {
    if (this.program.console.life.ended.aborted) return
    await this.program.end('quit', { timeout: '10s' }).catch(() => this.program.close())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** Reads what the command line depends on, and gives a guest the pages it lacks. */
async function prepare(
  target: Target,
  { hugepages, memory }: ResolvedTestpmd,
): Promise<{ cpus: string }> {
  const { stdout } = await target.exec(
    'grep -E "^(Cpus_allowed_list|Huge)" /proc/self/status /proc/meminfo',
    {
      check: true,
    },
  )
  const field = (name: string) => new RegExp(`${name}:\\s+(\\S+)`).exec(stdout)?.[1] ?? ''
  if (hugepages) {
    const needed = Math.ceil((memory * 1024) / Number(field('Hugepagesize')))
    const free = Number(field('HugePages_Free')) - Number(field('HugePages_Rsvd'))
    if (free < needed && isVm(target)) await reserveHugepages(target, needed - free)
    else if (free < needed) {
      throw targetError(target, `testpmd needs ${needed} huge pages, and ${free} are free`, {
        hint: `await reserveHugepages(dut, ${needed - free}) first, or hugepages: false`,
      })
    }
  }
  return { cpus: field('Cpus_allowed_list') }
}

async function spawn(
  target: Target,
  argv: readonly string[],
  options: { prompt: RegExp; timeout: string },
): Promise<Program> {
  if (isVm(target)) return target.spawn(`exec ${argv.map(shellQuote).join(' ')}`, options)
  // EAL makes a folder for each file prefix and never removes it: in ours it goes with the suite.
  await target.host.makeDir(target.dir, 0o700)
  return target.spawn(['env', `RUNTIME_DIRECTORY=${target.dir}`, ...argv], options)
}

/** cmdline cuts longer lines without a word (RDLINE_BUF_SIZE), and acts on control characters. */
function checkLine(line: string): void {
  if (typeof line === 'string' && line.length < 512 && !/[\x00-\x1f\x7f]/.test(line)) return
  throw new UsageError('testpmd: a command is one line of at most 511 characters', {
    hint: `load longer ones from a file: cmd('load /path')`,
  })
}

function checkPort(port: number): number {
  return checkInteger('testpmd: port', port, 0, 65_535)
}
