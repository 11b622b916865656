import { asError, DutError, lastLines } from '../errors.ts'
import { isVm, type Target, targetError } from './target.ts'

/** What EAL and testpmd say when they cannot start, and what to do about it. */
const CAUSES: readonly [pattern: RegExp, hint: (target: Target) => string][] = [
  [
    /^EAL: Option .*--(in-memory|no-huge|huge-unlink|legacy-mem|match-allocations).*$/m,
    () =>
      'inMemory: false leaves out --in-memory, hugepages: true (or ports) --no-huge; the rest of the ' +
      'options are those of eal',
  ],
  [
    /^Fail: input [rt]xq \(\d+\) can't be greater than .*$/m,
    () =>
      'ask for as many queues as the NIC has (args: --rxq, --txq), or give it more: ' +
      'vhostSwitch(dut, { queues }) and vhostUser({ queues })',
  ],
  [
    /^.*(mbuf pool object size is too small|RX scatter check failed).*$/im,
    () =>
      'a buffer is too small for a frame of --max-pkt-len: larger ones, such as ' +
      `args: ['--mbuf-size=9728'], or several for a frame: args: ['--enable-scatter']`,
  ],
  [
    /^.*(max_rx_pktlen|max_rx_pkt_len|max-pkt-len|Invalid MTU|MTU \(\d+\)).*$/im,
    () => 'the NIC takes frames that long at most: a shorter --max-pkt-len, or a larger host_mtu',
  ],
  [
    /^.*(No probed ethernet devices).*$/m,
    (target) =>
      isVm(target)
        ? `bind a NIC first: await bindDriver(vm, 0, 'uio_pci_generic'); nics(vm) lists them`
        : `vdevs: ['net_null0'], or ports: [PCI address of a NIC bound to vfio-pci]`,
  ],
  [
    /^.*(Cannot get hugepage information|No free hugepages|not enough memory|No space left).*$/im,
    () => 'reserveHugepages(target, pages) first, or hugepages: false where no NIC is used',
  ],
  [
    /^.*(failed to bind: .*)$/m,
    () => 'another backend listens there, or a dead one left its socket: remove the file',
  ],
  [
    /^.*([Ff]ailed to parse device|Unable to parse device|no driver found for).*$/m,
    () =>
      'is its driver installed? In Debian each is a package of its own, e.g. librte-net-vhost23',
  ],
  [
    /^.*(Creation of mbuf pool .*|RING: Cannot reserve memory)$/m,
    () => 'more memory, or fewer mbufs',
  ],
  [/^.*(invalid parameter for --lcores).*$/m, () => 'lcores names a CPU that is not there'],
  [
    /^.*(Cannot create lock on|Is another primary process running).*$/m,
    () => 'use another filePrefix',
  ],
  [
    /^.*(not found|No such file or directory)$/m,
    () => 'install DPDK: the packages dpdk and dpdk-dev in Debian',
  ],
  [/^.*(Start ports failed|Fail to configure port).*$/m, () => 'the lines above it say why'],
]

/** EAL answers a bad argument with all its options, which bury the reason. */
const USAGE = /^(\s|EAL (common|Linux) options|EAL options for|Usage:|$)/

/** Where none of the known causes fits: the line that most likely says why. */
const REASONS = [
  /^.*(unrecognized option|Invalid option).*$/m,
  /^EAL: (?!Error|Detected).*(invalid|fail|error|cannot|unable|option).*$/im,
  /^ *Cause: .*$/m,
]

const LINES = 15

/** The error of a testpmd that did not start, with the lines that say why. */
export function startError(
  target: Target,
  { error, printed, command }: { error?: unknown; printed: string; command: string },
): DutError {
  const tail = printed
    .replaceAll('\r', '')
    .split('\n')
    .filter((line) => !USAGE.test(line) || line.startsWith('  Cause:'))
    .join('\n')
  for (const [pattern, hint] of CAUSES) {
    const match = pattern.exec(tail)
    if (match === null) continue
    return targetError(target, `testpmd did not start: ${match[0].trim()}`, {
      ...{ command, tail: lastLines(tail, LINES).join('\n'), hint: hint(target), cause: error },
    })
  }
  const why = error instanceof DutError ? error.shortMessage : error && asError(error).message
  const killed = /has ended with status 137$/.test(String(why))
  const known = error instanceof DutError ? error.hint : undefined
  const reason = REASONS.map((pattern) => pattern.exec(tail)?.[0].trim()).find(Boolean)
  return targetError(target, `testpmd did not start: ${reason ?? why}`, {
    ...{ command, tail: lastLines(tail, LINES).join('\n'), cause: error },
    ...(killed && { hint: 'it was killed: has the machine memory enough? Give it less memory' }),
    ...(known !== undefined && { hint: known }),
  })
}
