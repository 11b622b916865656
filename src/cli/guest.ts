import type { Command } from 'commander'
import { InfrastructureError, UsageError } from '../errors.ts'
import { defaultCacheDir } from '../host/cache-dir.ts'
import { localHost } from '../host/local.ts'
import { ARCHS, type ArchName } from '../image/arch.ts'
import { type ListedGuest, listGuests, pruneGuests } from '../image/cached.ts'
import { ensureGuest, findGuest } from '../image/guest.ts'
import { wallClock } from '../time.ts'
import { print, printJson, roughAge, roughSize, STATUSES, StatusLine, table } from './output.ts'
import { untilSignal } from './signals.ts'

export function addGuest(program: Command): void {
  const guest = program
    .command('guest')
    .description('the built-in guest and its cache')
    .helpCommand(false)
    .addHelpText('after', `${STATUSES}\n\nExample:\n  npx vitest-dut guest build`)
  guest
    .command('build')
    .description('build the current guest where it is not built yet, and print its folder')
    .addHelpText('after', `${STATUSES}\n\nExample:\n  npx vitest-dut guest build`)
    .option(...ARCH)
    .action(build)
  guest
    .command('path')
    .description('print the folder of the current guest')
    .addHelpText(
      'after',
      `${STATUSES.replace('it failed, as the message says', 'it is not built yet')}

Example:
  ls -l "$(npx vitest-dut guest path)"`,
    )
    .option(...ARCH)
    .action(path)
  guest
    .command('list')
    .description('list the guests in the cache, the newest first')
    .option('--json', 'print them as JSON')
    .addHelpText('after', `${STATUSES}\n\nExample:\n  npx vitest-dut guest list --json`)
    .action(list)
  guest
    .command('prune')
    .description('remove the guests that are not the current one and that nobody uses')
    .option('--dry-run', 'only say what would be removed')
    .option('--json', 'print what was removed, and what was kept, as JSON')
    .addHelpText('after', `${STATUSES}\n\nExample:\n  npx vitest-dut guest prune --dry-run`)
    .action(prune)
}

async function build({ arch }: { arch: string }): Promise<void> {
  const architecture = checkArch(arch)
  const host = localHost()
  const status = new StatusLine()
  const onProgress = (line: string) => status.show(line)
  try {
    const guest = await untilSignal((signal) =>
      ensureGuest({ host, architecture, onProgress, signal }),
    )
    status.clear()
    if (guest !== undefined) print(guest.dir)
  } finally {
    status.clear()
  }
}

async function path({ arch }: { arch: string }): Promise<void> {
  const architecture = checkArch(arch)
  const guest = await findGuest(localHost(), undefined, architecture)
  if (guest !== undefined) return print(guest.dir)
  throw new InfrastructureError(`the current guest is not in ${defaultCacheDir()}`, {
    hint: `build it: npx vitest-dut guest build${arch === 'amd64' ? '' : ` --arch ${arch}`}`,
  })
}

const ARCH = ['--arch <name>', 'the processor that it is for: amd64, arm64', 'amd64'] as const

function checkArch(name: string): ArchName {
  if (Object.hasOwn(ARCHS, name)) return name as ArchName
  throw new UsageError(`--arch ${name}: there is no built-in guest for that`, {
    hint: Object.keys(ARCHS).join(' or '),
  })
}

async function list({ json }: { json?: true }): Promise<void> {
  const guests = await listGuests(localHost())
  if (json) return printJson({ version: 1, guests: guests.map(asJson) })
  if (guests.length === 0) return print(`no guests in ${defaultCacheDir()}`)
  const rows = guests.map(({ key, bytes, builtAt, ...guest }) => {
    return [key, roughSize(bytes), roughAge(wallClock.now() - builtAt), stateOf(guest)]
  })
  for (const line of table([['KEY', 'SIZE', 'AGE', 'STATE'], ...rows])) print(line)
}

async function prune({ dryRun = false, json }: { dryRun?: boolean; json?: true }): Promise<void> {
  const { removed, kept } = await pruneGuests(localHost(), { dryRun })
  const bytes = removed.reduce((sum, guest) => sum + guest.bytes, 0)
  if (json) {
    const [gone, left] = [removed, kept].map((guests) => guests.map(asJson))
    return printJson({ version: 1, dryRun, bytes, removed: gone, kept: left })
  }
  const verb = dryRun ? 'would remove' : 'removed'
  for (const { folder, bytes } of removed) print(`${verb} ${folder} (${roughSize(bytes)})`)
  for (const guest of kept) print(`kept ${guest.folder} (${stateOf(guest)})`)
  const count = removed.length === 1 ? '1 guest' : `${removed.length} guests`
  print(`${verb} ${count}, ${roughSize(bytes)}`)
}

function stateOf({ arch, inUse, complete }: Pick<ListedGuest, 'arch' | 'inUse' | 'complete'>) {
  const states = [
    arch !== undefined && `current for ${arch}`,
    inUse && 'in use',
    !complete && 'unfinished build',
  ]
  return states.filter((state) => state !== false).join(', ') || 'unused'
}

/** The fields in an order that stays. */
function asJson({ builtAt, ...guest }: ListedGuest) {
  const { key, folder, bytes, current, arch, complete, inUse } = guest
  const at = new Date(builtAt).toISOString()
  return { key, folder, bytes, builtAt: at, current, ...(arch && { arch }), complete, inUse }
}
