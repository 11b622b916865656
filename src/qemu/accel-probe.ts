import { AbortController } from '../abort.ts'
import { asError } from '../errors.ts'
import type { Host, RunResult } from '../host/host.ts'
import { formatDuration } from '../units.ts'
import { waitFor } from '../wait.ts'
import { optionValue } from './option-value.ts'
import { PROBE_PASSED, PROBE_PORTS, PROBE_STAGES, probeRom } from './probe-rom.ts'

export interface ProbeOptions {
  host: Host
  qemu: string
  /** A folder of the host for the ROM, which is removed afterwards. */
  dir: string
  accel: 'kvm' | 'tcg'
  /** As in QEMU's `-cpu`. */
  cpu: string
  /**
   * For the guest to come to its end once it has begun, in milliseconds; 2,000 by default. Where that was
   * not enough, it is tried once more with five times as long.
   */
  timeoutMs?: number
}

/**
 * `reason` is half a sentence with QEMU or the guest as its subject. Not `lasting` is what may be
 * otherwise the next time: a busy machine, another program that has the CPU's extensions.
 */
export type ProbeVerdict = { works: true } | { works: false; lasting: boolean; reason: string }

// For QEMU itself, on a machine that may be starting dozens of others.
const START_TIMEOUT_MS = 15_000
const KILL_TIMEOUT_MS = 5000
const LATE = Symbol('late')

type Trial = { works: true } | { works: false; lasting: boolean; reason: string; hangs?: true }

/** How many times as long as the first try the second one may take. */
const PATIENCE = 5

/** Runs a 64-bit guest to its end: the one proof that an accelerator can run others. */
export async function probe(options: ProbeOptions): Promise<ProbeVerdict> {
  const trial = await attempt(options)
  if (trial.works || !trial.hangs) return trial
  // A slow host, or one that stood still for a moment, looks the same. It hardly does so for longer.
  const again = await attempt({ ...options, timeoutMs: PATIENCE * timeOf(options) })
  if (again.works || !again.hangs) return again
  return { works: false, lasting: true, reason: trial.reason }
}

const timeOf = ({ timeoutMs = 2000 }: ProbeOptions) => timeoutMs

async function attempt(options: ProbeOptions): Promise<Trial> {
  const { host, qemu, dir } = options
  const timeoutMs = timeOf(options)
  const rom = `${dir}/probe-${crypto.randomUUID()}.rom`
  const stop = new AbortController()
  const begun = new AbortController()
  let stages = ''
  try {
    await host.makeDir(dir)
    await host.writeFile(rom, probeRom())
    const running = host.run(qemu, probeArgs(rom, options), {
      signal: stop.signal,
      onOutput: (text) => {
        stages += text
        begun.abort()
      },
    })
    const ended = await inTime(running, begun.signal, timeoutMs).catch(async (error) => {
      stop.abort(error)
      const gone = running.catch(() => {}) // it has been killed, and says nothing more
      await waitFor(gone, { timeoutMs: KILL_TIMEOUT_MS }).catch(() => {})
      if (error === LATE) return undefined
      throw error
    })
    if (ended) return judge(ended)
    const where = `${reached(stages)}: ${formatDuration(timeoutMs)} were not enough`
    const reason = `a 64-bit guest hangs with it ${where}`
    return { works: false, lasting: false, reason, ...(stages !== '' && { hangs: true }) }
  } catch (error) {
    const reason = `QEMU could not be tried (${asError(error).message})`
    return { works: false, lasting: false, reason }
  } finally {
    await host.remove(rom)
  }
}

function probeArgs(rom: string, { accel, cpu }: ProbeOptions): string[] {
  const { stages, result } = PROBE_PORTS
  return [
    ...['-accel', accel, '-cpu', cpu, '-machine', 'q35', '-m', '16', '-no-reboot'],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-bios', optionValue(rom)],
    ...['-device', `isa-debug-exit,iobase=${result},iosize=4`],
    ...['-chardev', 'stdio,id=stages,signal=off'],
    ...['-device', `isa-debugcon,iobase=${stages},chardev=stages`],
  ]
}

/** Gives the guest its time only from its first sign of life on. */
async function inTime(
  running: Promise<RunResult>,
  begun: AbortSignal,
  timeoutMs: number,
): Promise<RunResult> {
  const onTimeout = () => LATE as unknown as Error
  const started = new Promise<void>((resolve) => {
    begun.addEventListener('abort', () => resolve(), { once: true })
  })
  await waitFor(Promise.race([running, started]), { timeoutMs: START_TIMEOUT_MS, onTimeout })
  return waitFor(running, { timeoutMs, onTimeout })
}

function judge({ exitCode, signal, stdout, stderr }: RunResult): ProbeVerdict {
  if (exitCode === PROBE_PASSED && signal === undefined) return { works: true }
  const no = (reason: string, lasting = false): ProbeVerdict => ({ works: false, lasting, reason })
  const said = complaint(stderr)
  const words = said === undefined ? '' : ` (${said})`
  if (signal === 'SIGABRT') return no(`QEMU aborts with it${words}`, true)
  if (signal) return no(`QEMU dies of ${signal} with it${words}`)
  // A triple fault resets the guest, which -no-reboot turns into an end without an error.
  if (exitCode === 0) return no(`a 64-bit guest crashes with it ${reached(stdout)}`, true)
  return no(`QEMU refuses it${words || ` (exit status ${exitCode})`}`)
}

function reached(stages: string): string {
  const last = [...stages].findLast((letter) => letter in PROBE_STAGES)
  return last === undefined ? 'before its first instruction' : `after ${PROBE_STAGES[last]}`
}

/** The first thing that QEMU says which is not a mere warning, without the program's name. */
function complaint(stderr: string): string | undefined {
  return stderr
    .split('\n')
    .map((line) => line.trim().replace(/^\S*qemu[\w-]*: /, ''))
    .find((line) => line !== '' && !line.startsWith('warning:'))
}
