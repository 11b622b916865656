import { randomInt } from 'node:crypto'
import type { Host } from '../host/host.ts'
import type { ArchName } from '../image/arch.ts'
import { ensureGuest, type Guest } from '../image/guest.ts'
import { type AdmitOptions, admit } from '../lease/admission/admit.ts'
import type { GrantedLease } from '../lease/admission/grant.ts'
import type { PortRange } from '../lease/resources/ports.ts'
import { chooseAccel } from '../qemu/accel.ts'
import { outsideScope } from '../scope.ts'
import type { TemplateStore, VmHome, VmSite } from '../vm/instance/host-services.ts'
import { HeldTemplates } from '../vm/template/copies.ts'
import { suiteEnv } from './leftovers.ts'
import type { Links } from './links.ts'
import type { ProgressListener } from './progress.ts'
import { openTemplateStore } from './template-store.ts'

interface SiteOptions {
  host: Host
  dir: string
  cacheDir?: string
  links: Links
  ports?: PortRange
  admission?: AdmitOptions
  onProgress?: ProgressListener
}

/** What VMs on a DUT need to start: the guest, built once; the accelerator; sockets; an identity. */
export function siteOf(
  home: VmHome,
  { host, dir, cacheDir, links, ports, admission, onProgress }: SiteOptions,
): VmSite {
  const note = (line: string, once?: boolean) =>
    onProgress?.({ kind: 'note', dut: home.name, line, ...(once && { once }) })
  const env = suiteEnv(dir)
  const accels = new Map<string, ReturnType<typeof chooseAccel>>()
  const guests = new Map<ArchName, Promise<Guest>>()
  let store: Promise<TemplateStore> | undefined
  return {
    home,
    dir,
    env,
    held: new HeldTemplates(host, env),
    macPrefix: randomInt(2 ** 14),
    note: (line) => note(line, true),
    templates: () => {
      store ??= openTemplateStore(host, cacheDir)
      return store
    },
    segment: (link) => outsideScope(() => links.port(link)),
    reserveSegment: (link) => outsideScope(() => links.reserve(link)),
    leaveSegment: (link, socket) => outsideScope(() => links.leave(link, socket)),
    lease: async (need, { signal } = {}) => {
      const where = { dir, ...(ports && { portRange: ports }) }
      const [lease] = await admit(host, [{ ...need, ...where }], { ...admission, signal })
      return lease as GrantedLease
    },
    guest: (architecture) => {
      const ensure = () => ensureGuest({ host, cacheDir, architecture, onProgress: note })
      const guest = guests.get(architecture) ?? outsideScope(ensure)
      guests.set(architecture, guest)
      guest.catch(() => guests.delete(architecture))
      return guest
    },
    accel: (qemu, wanted, arch) => {
      const onNote = (line: string) => note(line, true)
      const key = `${wanted} ${qemu} ${arch}`
      const choice = accels.get(key) ?? chooseAccel({ host, qemu, wanted, arch, cacheDir, onNote })
      accels.set(key, choice)
      choice.catch(() => accels.delete(key))
      return choice.then(({ accel }) => accel)
    },
  }
}
