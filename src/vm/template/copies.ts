import { firstLine, InfrastructureError } from '../../errors.ts'
import type { Host, Pty } from '../../host/host.ts'
import { outsideScope } from '../../scope.ts'
import type { Template, TemplateCopies } from '../instance/host-services.ts'
import { keyOf, markUsed, readTemplate } from './files.ts'

/*
 * Clones go on using what they were restored from, so they use a copy of it that has no name: whatever
 * becomes of the template's files, by whomever, no clone notices. A suite makes one for each shape that it
 * has; a process of its own keeps it open, which the kernel ends with the suite's.
 */

/** What is said once all is copied. */
const WHOLE = 'whole'
/** What is said where the folder is not there any more, or has given its name to another one. */
const GONE = 'gone'

// All from inside the folder, so that it is one template even where its name goes to another meanwhile.
// With the shelf's lock nobody takes the template, or the copy's names, for what is in nobody's use.
const SCRIPT = `
trap '[ . -ef "$0" ] || echo ${GONE}' EXIT
exec 4<"\${0%/*}" && flock --shared 4 || exit
cd -- "$0" && exec 3<. && flock --shared 3 || exit
copy=$(mktemp -d -- "$0.copy-XXXXXXXX") || exit
exec 5<>"$copy/memory" 6<>"$copy/disk" 7<>"$copy/state" && rm -r -- "$copy" || exit
exec 4<&-
for file in 5:memory 6:disk 7:state; do
  [ ! -e "\${file#*:}" ] || cp --sparse=always -- "\${file#*:}" "/dev/fd/\${file%:*}" || exit
done
echo ${WHOLE}
read -r never`

/** A template whose files are a copy, until it is let go of. */
interface HeldTemplate {
  template: Template
  /** Resolves when the copy cannot be opened any more; VMs that have it open keep it. */
  gone: Promise<unknown>
  letGo(): void
}

/** Undefined where there is no whole template in that folder, or not any more. */
async function holdTemplate(
  host: Host,
  folder: string,
  env: Record<string, string>,
): Promise<HeldTemplate | undefined> {
  const keeper = host.openPty('sh', ['-c', SCRIPT, folder], { env })
  const inside = `/proc/${keeper.pid}`
  const complaint = await complaintOf(keeper)
  const copied = complaint === undefined ? await readTemplate(host, `${inside}/cwd`) : undefined
  if (copied === undefined) {
    keeper.kill()
    await keeper.exited
    if (complaint === undefined || says(complaint, GONE)) return undefined
    throw new InfrastructureError(`its template could not be copied: ${firstLine(complaint)}`)
  }
  void markUsed(host, { ...copied, folder }).catch(() => {})
  const { memory, disk } = copied
  const template: Template = {
    ...{ ...copied, key: keyOf(folder), folder, state: `${inside}/fd/7` },
    ...{ ...(memory && { memory: `${inside}/fd/5` }), ...(disk && { disk: `${inside}/fd/6` }) },
  }
  return { template, gone: keeper.exited, letGo: () => keeper.kill() }
}

/** Whether a line is that word: what a program complains of may be a path with it. */
function says(text: string, word: string): boolean {
  return text.split(/\r?\n/).includes(word)
}

/** What it said where it ended; undefined once all is copied. */
function complaintOf({ onData, exited }: Pty): Promise<string | undefined> {
  let said = ''
  return new Promise((resolve) => {
    onData((data) => {
      said += Buffer.from(data).toString()
      if (says(said, WHOLE)) resolve(undefined)
    })
    exited.then(() => resolve(said))
  })
}

/** The templates that a suite has copies of, on one host. */
export class HeldTemplates implements TemplateCopies {
  readonly #host: Host
  readonly #env: Record<string, string>
  readonly #held = new Map<string, Promise<HeldTemplate | undefined>>()

  /** @param env added to that of the processes which keep the copies open */
  constructor(host: Host, env: Record<string, string>) {
    this.#host = host
    this.#env = env
  }

  /**
   * A copy of the template in a folder, the same for all who ask; undefined where there is none that is
   * whole. While it is held the template counts as in use.
   *
   * @throws InfrastructureError where it cannot be copied, as for want of room
   */
  async hold(folder: string): Promise<Template | undefined> {
    const held = this.#held.get(folder) ?? this.#begin(folder)
    return (await held)?.template
  }

  #begin(folder: string): Promise<HeldTemplate | undefined> {
    const held = outsideScope(() => holdTemplate(this.#host, folder, this.#env))
    const forget = () => {
      if (this.#held.get(folder) === held) this.#held.delete(folder)
    }
    this.#held.set(folder, held)
    held.then((one) => (one ? one.gone.then(forget) : forget()), forget)
    return held
  }

  /** Lets go of all, once no VM is to be started any more. */
  async close(): Promise<void> {
    const all = await Promise.allSettled(this.#held.values())
    const held = all.flatMap((one) => (one.status === 'fulfilled' && one.value ? [one.value] : []))
    for (const { letGo } of held) letGo()
    await Promise.all(held.map(({ gone }) => gone))
  }
}
