import { InfrastructureError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import type { Qmp } from '../../qemu/qmp.ts'

export interface PinOptions {
  host: Host
  qmp: Qmp
  where: { vm: string; dut: string }
}

// One shell for all threads. Its words are: thread, cpu, thread, cpu, …
const PIN = `
while [ $# -gt 0 ]; do
  taskset --pid --cpu-list "$2" "$1" >/dev/null || exit
  shift 2
done`

/**
 * Pins the thread of each virtual CPU to one cpu of the host, one to one, in the order of both.
 * QEMU's other threads stay free.
 *
 * @throws InfrastructureError where QEMU has not as many threads of virtual CPUs as there are cpus, or
 *   the kernel refuses
 */
export async function pinVcpus(
  { host, qmp, where }: PinOptions,
  cpus: readonly number[],
): Promise<void> {
  const vcpus = await qmp.execute('query-cpus-fast')
  const inOrder = vcpus.toSorted((a, b) => a['cpu-index'] - b['cpu-index'])
  const threads = [...new Set(inOrder.map((vcpu) => vcpu['thread-id']))]
  if (threads.length !== cpus.length) {
    throw new InfrastructureError(
      `${vcpus.length} virtual CPUs run in ${threads.length} threads of QEMU, so they cannot be ` +
        `pinned one to one to the host's cpus ${cpus.join(', ')}`,
      {
        ...where,
        hint:
          threads.length < vcpus.length
            ? `under TCG that is thread=single: take it out of extraArgs, or leave pin out`
            : 'take -smp out of extraArgs, cpus.count says how many there are; or leave pin out',
      },
    )
  }
  const words = threads.flatMap((thread, i) => [String(thread), String(cpus[i])])
  const { exitCode, stderr } = await host.run('sh', ['-c', PIN, 'pin', ...words])
  if (exitCode === 0) return
  throw new InfrastructureError(
    `the virtual CPUs cannot be pinned to the host's cpus ${cpus.join(', ')}`,
    {
      ...where,
      tail: stderr,
      hint: 'pinning needs taskset of util-linux, and cpus that are online and allowed to this process',
    },
  )
}
