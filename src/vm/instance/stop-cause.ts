import { GuestError, InfrastructureError, UsageError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import { folderOf, isFull } from '../../host/room.ts'
import type { Standstill } from '../../lifeline.ts'
import type { Qmp } from '../../qemu/qmp.ts'
import type { QmpEvents, RunState } from '../../qemu/qmp-types.ts'

export type IoError = QmpEvents['BLOCK_IO_ERROR']

interface Stopped {
  host: Host
  qmp: Qmp
  /** QEMU's own words. */
  complaints: () => Promise<string[]>
  where: { vm: string; dut: string }
  /** The last one that it told. */
  ioError: IoError | undefined
}

/** In which QEMU stops a machine for itself, or for a command that was given to it. */
const ON_PURPOSE: readonly RunState[] = [
  ...(['paused', 'prelaunch', 'inmigrate', 'postmigrate'] as const),
  ...(['finish-migrate', 'restore-vm', 'save-vm'] as const),
]

/** Tells whether QEMU stops a machine in that state because something has gone wrong. */
export function isMishap(status: RunState): boolean {
  return !ON_PURPOSE.includes(status)
}

/** Why a machine's CPUs do not run, and what to do about it. */
export async function whyStopped(status: RunState, stopped: Stopped): Promise<Standstill> {
  const { where } = stopped
  const known = await reasonOf(status, stopped)
  const { reason, todo, Family = GuestError } = known
  const message = `the VM stands still: ${reason}`
  const tail = known.tail?.join('\n')
  const cause = new Family(message, { ...where, hint: todo, ...(tail && { tail }) })
  return { hint: `${message}; ${todo}`, cause }
}

interface Reason {
  reason: string
  todo: string
  Family?: typeof GuestError | typeof InfrastructureError | typeof UsageError
  tail?: readonly string[]
}

async function reasonOf(status: RunState, stopped: Stopped): Promise<Reason> {
  switch (status) {
    case 'io-error':
      return { ...(await diskReason(stopped)), Family: InfrastructureError }
    case 'internal-error':
      return {
        reason: 'KVM cannot go on with it, an internal error of KVM or QEMU',
        todo: `vm.reset(), or accel: 'tcg'; dmesg of the host may say more`,
        Family: InfrastructureError,
        tail: await stopped.complaints(),
      }
    case 'guest-panicked':
      return {
        reason: 'its kernel has panicked, and QEMU was told to keep it so',
        todo: 'vm.reset() boots it anew',
      }
    case 'watchdog':
      return {
        reason: "the guest's watchdog has run out, and QEMU was told to stop then",
        todo: 'vm.resume() lets it go on, vm.reset() boots it anew',
      }
    case 'suspended':
      return {
        reason: 'the guest has suspended itself to memory',
        todo: `vm.qmp('system_wakeup') wakes it up`,
      }
    case 'shutdown':
      return {
        reason: 'the guest has powered itself off, and QEMU was told to stay',
        todo: 'vm.reset() boots it anew',
      }
    case 'paused':
      return {
        reason: `it is paused by vm.qmp('stop')`,
        todo: `vm.resume(), or vm.qmp('cont')`,
        Family: UsageError,
      }
    default:
      return {
        reason: `QEMU has stopped it, in the state "${status}"`,
        todo: `vm.resume(), or vm.qmp('cont')`,
        Family: InfrastructureError,
      }
  }
}

/** Which disk cannot be written or read, and which file system of the host is full. */
async function diskReason({ host, qmp, ioError }: Stopped): Promise<Reason> {
  const goOn = 'then vm.resume() tries again'
  if (ioError === undefined) {
    return { reason: 'QEMU cannot read or write a disk of it', todo: `mend that, ${goOn}` }
  }
  const { operation, reason: words, nospace } = ioError
  const { name, file } = await diskOf(qmp, ioError)
  const cannot = `QEMU cannot ${operation} its disk ${name}`
  if (file === undefined) return { reason: `${cannot}: ${words}`, todo: `mend that, ${goOn}` }
  const folder = folderOf(file)
  const hasNoRoom = nospace === true || (await isFull(host, folder))
  return {
    reason: hasNoRoom
      ? `${cannot}: ${words}; the file system of ${folder} is full`
      : `${cannot} in ${file}: ${words}`,
    todo: hasNoRoom ? `make room in ${folder}, ${goOn}` : `mend that, ${goOn}`,
  }
}

async function diskOf(qmp: Qmp, { device, ...error }: IoError) {
  const path = error['qom-path'] ?? ''
  const node = error['node-name']
  const blocks = await qmp.execute('query-block').catch(() => [])
  const block = blocks.find(
    (one) =>
      (device !== '' && one.device === device) ||
      (path !== '' && one.qdev !== undefined && path.startsWith(one.qdev)) ||
      (node !== undefined && one.inserted?.['node-name'] === node),
  )
  return { name: device || block?.device || path, file: fileOf(block?.inserted?.file) }
}

/** The file that is written to, of a name that may be QEMU's description of a chain of images. */
function fileOf(name: string | undefined): string | undefined {
  if (name?.startsWith('json:') !== true) return name
  interface Image {
    filename?: string
    file?: Image
  }
  let image: Image | undefined = JSON.parse(name.slice('json:'.length))
  while (image?.file) image = image.file
  return image?.filename
}
