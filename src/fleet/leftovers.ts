import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import { readLedger } from '../lease/records.ts'
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

/** How long the kernel may take to end what was killed a moment ago. */
const GRACE_MS = 1000

/**
 * Proves that a suite left nothing on a DUT: no process, no file, no lease.
 *
 * @throws InfrastructureError with the list; the processes have been killed then
 */
export async function checkLeftovers({
  name,
  host,
  dir,
}: {
  name: string
  host: Host
  dir: string
}): Promise<void> {
  const look = async () => {
    const left = await leftovers(host, dir)
    return left.processes.length + left.rest.length === 0 ? left : undefined
  }
  const clean = await poll(look, { timeoutMs: GRACE_MS, everyMs: 50 }).catch(() => undefined)
  if (clean !== undefined) return
  const { processes, rest } = await leftovers(host, dir)
  if (processes.length + rest.length === 0) return
  await killAll(host, processes)
  const killed = processes.map(({ pid, command }) => `process ${pid}, killed now: ${command}`)
  throw new InfrastructureError(`the suite left behind on the DUT`, {
    dut: name,
    tail: [...killed, ...rest].join('\n'),
    hint: 'end what a backend or a test starts: with onCleanup, or through dut.spawn, which does it',
  })
}

async function leftovers(
  host: Host,
  dir: string,
): Promise<{ processes: HostProcess[]; rest: string[] }> {
  const [processes, files, { leases }] = await Promise.all([
    processesOf(host, dir),
    host.listDir(dir),
    readLedger(host),
  ])
  return {
    processes,
    rest: [
      ...files.map((file) => `file ${dir}/${file}`),
      ...leases
        .filter(({ dir: of }) => of === dir)
        .map(({ file, vm }) => `lease ${file}${vm ? ` of ${vm}` : ''}`),
    ],
  }
}

// The environment is the one thing that a child cannot shake off without being told to: it keeps it
// through setsid, double forks and changes of its working directory.
const FIND = `
cd /proc || exit
grep --null-data --files-with-matches --no-messages -e "$1" [0-9]*/environ |
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
    return pid === undefined || command === ''
      ? []
      : [{ pid: Number(pid), command: command.trim() }]
  })
}

/** By their ids, which were looked up a moment ago. */
export async function killAll(host: Host, processes: readonly HostProcess[]): Promise<void> {
  if (processes.length === 0) return
  await host.run('sh', ['-c', 'kill -KILL "$@"', 'sh', ...processes.map(({ pid }) => String(pid))])
}
