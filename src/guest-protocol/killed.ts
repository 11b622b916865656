import { performance } from '../time.ts'

/** bash's statuses of a program that a signal ended: 128 + its number. */
const SIGKILL = 137
const SIGBUS = 135
const SIGSEGV = 139

/** Its clock and ours differ, and so do the moments at which they were read. */
const SLACK_S = 0.5

const ASK = `
read -r up _ </proc/uptime; echo "up $up"
grep -E '^(MemTotal|HugePages_Total|HugePages_Free):' /proc/meminfo
dmesg 2>/dev/null | grep -E 'Killed process|segfault at|SIGBUS|MCE' | tail -n 50`

/**
 * Asks the kernel of a guest why a signal ended a program there; undefined where it was no such signal, or
 * the kernel had no part in it.
 *
 * @param elapsedMs for how long it had run
 * @param ask runs a script in the guest; what it printed
 */
export async function whyKilled(
  exitCode: number,
  elapsedMs: number,
  ask: (script: string) => Promise<string>,
): Promise<string | undefined> {
  if (![SIGKILL, SIGBUS, SIGSEGV].includes(exitCode)) return undefined
  const askedAt = performance.now()
  const stdout = await ask(ASK).catch(() => '')
  const ageMs = elapsedMs + performance.now() - askedAt
  const since = Number(/^up (\S+)/m.exec(stdout)?.[1] ?? Number.NaN) - ageMs / 1000 - SLACK_S
  const lines = stdout.split('\n').filter((line) => secondsOf(line) >= since)
  if (stdout === '') return undefined
  if (exitCode === SIGKILL) return outOfMemory(lines, kilobytes(stdout, 'MemTotal'))
  if (exitCode === SIGBUS) return noPage(stdout, lines)
  const fault = lines.findLast((line) => line.includes('segfault at'))
  return fault && `it read or wrote where it may not, as the guest's kernel says: ${textOf(fault)}`
}

/** The report of a kernel's OOM killer, as one sentence. */
function outOfMemory(lines: readonly string[], totalKb?: number): string | undefined {
  const line = lines.findLast((one) => /Killed process \d+ \(/.test(one))
  const killed = line && /Killed process (\d+) \((.*?)\)(?:.*?anon-rss:(\d+)kB)?/.exec(line)
  if (!line || !killed) return undefined
  const [, pid, name, anonKb] = killed
  const had = anonKb === undefined ? '' : `, which had ${megabytes(Number(anonKb))} of it`
  const all = totalKb === undefined ? '' : `, of ${megabytes(totalKb)} in all`
  const where = line.includes('Memory cgroup')
    ? 'its control group there has a limit'
    : `give the VM more memory`
  return `the guest's kernel killed ${name} (process ${pid}) for want of memory${had}${all}: ${where}`
}

function noPage(facts: string, lines: readonly string[]): string {
  const said = lines.at(-1)
  if (said) return `a page of memory could not be had, as the guest's kernel says: ${textOf(said)}`
  const isUsedUp = /^HugePages_Total: +[1-9]/m.test(facts) && /^HugePages_Free: +0$/m.test(facts)
  return isUsedUp
    ? "the guest's huge pages are used up: reserveHugepages(vm, …) for more"
    : 'a page of a file that it has mapped could not be had: the file was cut short, or its tmpfs is full (df in the guest)'
}

function kilobytes(facts: string, name: string): number | undefined {
  const found = new RegExp(`^${name}: +(\\d+)`, 'm').exec(facts)?.[1]
  return found === undefined ? undefined : Number(found)
}

function megabytes(kb: number): string {
  return `${Math.round(kb / 1024)}M`
}

function secondsOf(line: string): number {
  return Number(/^\[ *(\d+\.\d+)\]/.exec(line)?.[1] ?? Number.NaN)
}

function textOf(line: string): string {
  return line.replace(/^\[.*?\] */, '')
}
