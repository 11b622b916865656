import { InfrastructureError, UsageError } from '../errors.ts'
import type { Dut } from '../fleet/dut.ts'
import { pageChanger, poolFolder } from '../lease/resources/pages.ts'
import { checkInteger, checkKeys } from '../options.ts'
import { defer } from '../scope.ts'
import { formatSize } from '../units.ts'
import { isVm, type Target, targetError } from './target.ts'

export interface HugepageOptions {
  /** `'2M'` by default. */
  size?: '2M' | '1G'
  /** Only from this NUMA node. */
  node?: number
}

export interface Hugepages extends AsyncDisposable {
  /** How many were added. */
  readonly pages: number
  readonly size: '2M' | '1G'
  /** Of this size (and node): how many there are and how many are free, with those added. */
  readonly total: number
  readonly free: number
  /** Takes as many away again, so that others who added some meanwhile keep theirs. */
  restore(): Promise<void>
}

const ANSWER = /^pages (\d+) (\d+) (\d+) (\d+)$/m

/**
 * Adds huge pages to those that a guest or a DUT has, and looks what the kernel really gave. A DUT
 * has its old number again when the test that called is over, or else the suite, however that ends.
 *
 * @throws GuestError in a guest and InfrastructureError on a DUT when the kernel gave fewer; none of
 *   them is kept then
 * @throws UsageError for a bad number, size or node
 */
export async function reserveHugepages(
  target: Target,
  pages: number,
  options: HugepageOptions = {},
): Promise<Hugepages> {
  checkKeys('reserveHugepages', options, ['size', 'node'])
  checkInteger('reserveHugepages: pages', pages, 1, 1 << 24)
  const { size = '2M', node } = options
  if (size !== '2M' && size !== '1G') {
    throw new UsageError(`reserveHugepages: size: ${JSON.stringify(size)} is unknown`, {
      hint: `'2M' or '1G'`,
    })
  }
  if (node !== undefined) checkInteger('reserveHugepages: node', node, 0, 1023)
  const what = `${pages} huge pages of ${size}${node === undefined ? '' : ` on node ${node}`}`
  const folder = poolFolder(size, { node })
  if (!isVm(target)) await checkRight(target, { folder, pages, what })
  const { printed, release } = await hold(target, folder, pages)
  const answer = ANSWER.exec(printed)
  const [given = 0, total = 0, free = 0, available = 0] = (answer ?? []).slice(1).map(Number)
  if (answer === null || given < pages) {
    await release()
    throw targetError(target, `${what} were asked for, the kernel gave ${given}`, {
      ...(answer === null && { tail: printed }),
      hint: answer
        ? `${formatSize(available * 1024)} of memory were available, and ${free} such pages free: ` +
          'ask for fewer, add memory, or reserve them at boot, before memory is in pieces'
        : 'is there such a size, and such a node? See /sys/kernel/mm/hugepages',
    })
  }
  return { pages, size, total, free, restore: release, [Symbol.asyncDispose]: release }
}

/** @throws InfrastructureError where this user may not change how many there are */
async function checkRight(
  dut: Dut,
  { folder, pages, what }: { folder: string; pages: number; what: string },
): Promise<void> {
  const file = `${folder}/nr_hugepages`
  const facts = await dut.host.fileFacts(file)
  if (facts === undefined || facts.writable) return // without the file, the kernel has no such pages
  const now = Number(Buffer.from(await dut.host.readFile(file)).toString())
  throw targetError(dut, `${what} cannot be added: only root may, outside of a container`, {
    hint: `as root on ${dut.host.name}: echo ${now + pages} >${file}`,
  })
}

interface Held {
  printed: string
  release(): Promise<void>
}

async function hold(target: Target, folder: string, pages: number): Promise<Held> {
  const add = `
change ${pages}
read -r free <free_hugepages
echo "pages $given $total $free $available"`
  if (isVm(target)) {
    const { stdout } = await target.exec(pageChanger(folder) + add, { timeout: '120s' })
    let added = Number(ANSWER.exec(stdout)?.[1]) >= pages ? pages : 0
    const release = async () => {
      if (added === 0 || target.gone.aborted) return
      const script = `${pageChanger(folder)}\nchange -${added}`
      added = 0
      await target.exec(script, { check: true })
    }
    return { printed: stdout, release }
  }
  // The holder lives until it is asked to end, or the suite or this very process ends. Its child adds
  // the pages, sees that end by the end of a pipe, and takes them away: also after a kill -9. It is a job,
  // in a process group of its own, for the holder's is killed as a whole.
  const holder = `${pageChanger(folder)}
set -m
exec 3>&1
coproc keep {
  trap '' HUP INT TERM
  exec >&3
  ${add}
  exec >/dev/null 2>&1 3>&-
  read -r
  change $((before - total))
}
read -r
eval "exec \${keep[1]}>&-"
wait $keep_PID`
  try {
    const program = await target.spawn(['bash', '-c', holder], { prompt: ANSWER, timeout: '120s' })
    const release = async () => {
      if (!program.console.life.ended.aborted) await program.end('')
    }
    defer(release)
    return { printed: program.console.text, release }
  } catch (error) {
    if (!(error instanceof InfrastructureError)) throw error
    return { printed: error.tail ?? '', release: async () => {} }
  }
}
