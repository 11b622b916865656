import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import { type LeaseRecord, readLedger } from '../lease/ledger/records.ts'
import { poll } from '../wait.ts'

/** By this, whatever a suite started on a host is known as its own, however far it went away. */
const MARK = 'VITEST_DUT_SUITE'

/** What is added to the environment of all that a suite starts. @param dir the suite's folder */
export function suiteEnv(dir: string): Record<string, string> {
  return { [MARK]: dir }
}

/** A process of the host. */
export interface HostProcess {
  pid: number
  /** Its command line. */
  command: string
}

/** How long what was told to end may take. */
const GRACE_MS = 1000
/** How long what was killed may take: the kernel gives back gigabytes, on a machine that may be busy. */
const KILLED_MS = 5000
/** As many as a message names, each so long. */
const NAMED = 20
const LINE_LENGTH = 200

/**
 * Proves that a suite left nothing on a DUT: no process, no file, no lease.
 *
 * @throws InfrastructureError with the list; the processes have been killed then, and the files removed
 */
export async function checkLeftovers(suite: {
  name: string
  host: Host
  dir: string
}): Promise<void> {
  const { name, host, dir } = suite
  const left = await settled(() => leftovers(host, dir), isNothing, GRACE_MS)
  if (isNothing(left)) return
  const { processes, files, leases } = left
  const alive = await endAll(host, () => processesOf(host, dir))
  await host.remove(dir).catch(() => {}) // it has been told of
  const lines = [
    ...processes.map(({ pid, command }) => {
      const how = alive.some((one) => one.pid === pid) ? 'which cannot be killed' : 'killed now'
      return `process ${pid}, ${how}: ${command}`
    }),
    ...files.map((file) => `file ${dir}/${file}`),
    ...leases.map(({ file, vm }) => `lease ${file} of ${vm ?? 'a test'}`),
  ].map((line) => `\n  ${line.length > LINE_LENGTH ? `${line.slice(0, LINE_LENGTH)}…` : line}`)
  const more = lines.length > NAMED ? `\n  and ${lines.length - NAMED} more` : ''
  throw new InfrastructureError(`the suite left behind:${lines.slice(0, NAMED).join('')}${more}`, {
    dut: name,
    hint: 'end what a backend or a test starts: with onCleanup, or through dut.spawn, which does it',
  })
}

interface Leftovers {
  processes: HostProcess[]
  /** Names in the suite's folder. */
  files: string[]
  leases: LeaseRecord[]
}

async function leftovers(host: Host, dir: string): Promise<Leftovers> {
  const [processes, files, { leases }] = await Promise.all([
    processesOf(host, dir),
    host.listDir(dir),
    readLedger(host),
  ])
  return { processes, files, leases: leases.filter((lease) => lease.dir === dir) }
}

function isNothing({ processes, files, leases }: Leftovers): boolean {
  return processes.length + files.length + leases.length === 0
}

/** What `look` sees: once it is good, or else when the time is over. */
async function settled<T>(
  look: () => Promise<T>,
  good: (seen: T) => boolean,
  timeoutMs: number,
): Promise<T> {
  const again = async () => {
    const seen = await look()
    return good(seen) ? seen : undefined
  }
  return poll(again, { timeoutMs, everyMs: 50 }).catch(look)
}

// The environment is the one thing that a child cannot shake off without being told to: it keeps it
// through setsid, double forks and changes of its working directory. (Twice: one that is just becoming
// another program has none for a moment.)
const FIND = `
cd /proc || exit
look() { grep --null-data --files-with-matches --no-messages -e "$1" [0-9]*/environ; }
{ look "$1"; look "$1"; } | sort --unique |
while IFS=/ read -r pid _; do
  printf '%s ' "$pid"
  tr '\\0\\n' '  ' <"$pid/cmdline" 2>/dev/null
  echo
done
`

/** The processes of a suite, as far as this user may see them. @param dir the suite's folder */
export function processesOf(host: Host, dir: string): Promise<HostProcess[]> {
  return find(host, `^${MARK}=${literal(dir)}$`)
}

/** The processes of all suites whose folders are below that one. */
export function processesBelow(host: Host, folder: string): Promise<HostProcess[]> {
  return find(host, `^${MARK}=${literal(folder)}/`)
}

/** Text as a basic regular expression. */
function literal(text: string): string {
  return text.replaceAll(/[.[\]\\*^$]/g, '\\$&')
}

async function find(host: Host, expression: string): Promise<HostProcess[]> {
  const { stdout } = await host.run('sh', ['-c', FIND, 'sh', expression])
  return stdout.split('\n').flatMap((line) => {
    const [, pid, command = ''] = /^(\d+) (.*)$/.exec(line) ?? []
    return pid ? [{ pid: Number(pid), command: command.trim() || '(just starting)' }] : []
  })
}

/**
 * Kills what `look` finds, until it finds nothing: each may start another before its own end. Nothing of
 * them is left then, no lock and no memory.
 *
 * @returns what lives all the same, such as another user's
 */
export async function endAll(
  host: Host,
  look: () => Promise<HostProcess[]>,
): Promise<HostProcess[]> {
  const killed = new Map<number, HostProcess>()
  const round = async () => {
    const found = await look()
    for (const one of found) killed.set(one.pid, one)
    const pids = found.map(({ pid }) => String(pid)) // looked up a moment ago
    if (pids.length > 0) await host.run('sh', ['-c', 'kill -KILL "$@"', 'sh', ...pids])
    // Found no more is one whose memory is gone; its files are closed after that.
    const ending = await Promise.all([...killed.keys()].map((pid) => isThere(host, pid)))
    return { found, alive: [...killed.values()].filter((_, i) => ending[i]) }
  }
  const over = ({ found, alive }: Awaited<ReturnType<typeof round>>) =>
    found.length + alive.length === 0
  return (await settled(round, over, KILLED_MS)).alive
}

/** False for a zombie, which has nothing any more, as soon as all its threads are. */
async function isThere(host: Host, pid: number): Promise<boolean> {
  const folder = `/proc/${pid}`
  const [stat, threads] = await Promise.all([
    host.readFile(`${folder}/stat`).then(
      (bytes) => Buffer.from(bytes).toString(),
      () => '',
    ),
    host.listDir(`${folder}/task`).catch(() => []),
  ])
  return stat !== '' && (!/^\d+ \(.*\) [ZX]/s.test(stat) || threads.length > 1)
}
