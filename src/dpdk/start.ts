import { shellQuote } from '../console/line.ts'
import type { Program, SpawnOptions } from '../console/program.ts'
import type { Device } from '../qemu/devices.ts'
import { defer } from '../scope.ts'
import { performance } from '../time.ts'
import { parseDuration } from '../units.ts'
import { reserveHugepages } from './hugepages.ts'
import { type NicFacts, sizesFor } from './memory.ts'
import {
  hasFiles,
  type ResolvedTestpmd,
  resolveTestpmd,
  type TestpmdOptions,
  testpmdCommand,
} from './options.ts'
import { PROMPT, UNUSABLE } from './output.ts'
import { startError } from './start-error.ts'
import { isVm, type Target, targetError } from './target.ts'
import { Testpmd } from './testpmd.ts'

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
  const resolved = resolveTestpmd(
    { inMemory: !hasFiles(options), ...options },
    isVm(target) ? 'vm' : 'dut',
  )
  const deadline = performance.now() + parseDuration(resolved.timeout, 'testpmd: timeout')
  const { cpus, nics } = await prepare(target, resolved)
  const argv = testpmdCommand(resolved, cpus, nics)
  const command = argv.map(shellQuote).join(' ')
  let program: Program
  let printed = ''
  let starting = true
  const onText = (text: string) => {
    if (starting) printed += text
  }
  try {
    const timeout = `${Math.max(1, Math.round(deadline - performance.now()))}ms`
    program = await spawn(target, argv, {
      ...{ prompt: PROMPT, stderr: 'apart', timeout, onText },
    })
  } catch (error) {
    await removeFiles(target, resolved)
    throw startError(target, { error, printed, command })
  } finally {
    starting = false
  }
  const { filePrefix } = resolved
  const atEnd = () => removeFiles(target, resolved)
  const started = new Testpmd(target, program, { filePrefix, atEnd })
  if (UNUSABLE.test(printed)) {
    await started.close()
    throw startError(target, { printed, command })
  }
  defer(() => started.close())
  return started
}

/** Which CPUs and huge pages there are, and how many NICs a userspace driver holds. */
const FACTS = `grep -hE "^(Cpus_allowed_list|Huge)" /proc/self/status /proc/meminfo
set -- /sys/bus/pci/drivers/uio_pci_generic/*:* /sys/bus/pci/drivers/vfio-pci/*:* /sys/bus/pci/drivers/igb_uio/*:*
bound=0
for nic; do [ ! -e "$nic" ] || bound=$((bound + 1)); done
echo "Bound: $bound"`

/** Reads what the command line depends on, and gives a guest the pages it lacks. */
async function prepare(
  target: Target,
  resolved: ResolvedTestpmd,
): Promise<{ cpus: string; nics: NicFacts }> {
  const { stdout } = await target.exec(FACTS, { check: true })
  const field = (name: string) => new RegExp(`${name}:\\s+(\\S+)`).exec(stdout)?.[1] ?? ''
  const count = resolved.ports === 'bound' ? Number(field('Bound')) : resolved.ports.length
  const nics = { count, ...(isVm(target) && { ring: shortestRing(target.spec.devices) }) }
  const { memory } = sizesFor(resolved, nics)
  if (resolved.hugepages) {
    const needed = Math.ceil((memory * 1024) / Number(field('Hugepagesize')))
    const free = Number(field('HugePages_Free')) - Number(field('HugePages_Rsvd'))
    if (free < needed && isVm(target)) await reserveHugepages(target, needed - free)
    else if (free < needed) {
      throw targetError(target, `testpmd needs ${needed} huge pages, and ${free} are free`, {
        hint: `await reserveHugepages(dut, ${needed - free}) first, or hugepages: false`,
      })
    }
  }
  return { cpus: field('Cpus_allowed_list'), nics }
}

/** Receive descriptors of a virtio NIC that QEMU is told nothing of. */
const QEMU_RING = 256

/** The fewest that a NIC of the VM has, whichever of them testpmd uses. */
function shortestRing(devices: readonly Device[]): number {
  const rings = devices.flatMap((device) =>
    device.kind === 'vhost-user' || device.kind === 'link' || device.kind === 'tap'
      ? [Number(device.properties?.rx_queue_size ?? QEMU_RING)]
      : [],
  )
  return Math.min(...rings)
}

/** Removes what EAL leaves in the file systems of huge pages where it is to have files there. */
async function removeFiles(
  target: Target,
  { hugepages, inMemory, filePrefix }: ResolvedTestpmd,
): Promise<void> {
  if (!hugepages || inMemory || (isVm(target) && target.gone.aborted)) return
  await target.exec(
    `while read -r _ dir kind _; do [ "$kind" = hugetlbfs ] && rm -f "$dir/${filePrefix}"map_*; done </proc/mounts`,
  )
}

async function spawn(
  target: Target,
  argv: readonly string[],
  options: SpawnOptions,
): Promise<Program> {
  if (isVm(target)) return target.spawn(`exec ${argv.map(shellQuote).join(' ')}`, options)
  // EAL makes a folder for each file prefix and never removes it: in ours it goes with the suite.
  await target.host.makeDir(target.dir, 0o700)
  return target.spawn(['env', `RUNTIME_DIRECTORY=${target.dir}`, ...argv], options)
}
