import type { Host } from '../host/host.ts'
import { ensureGuest, type Guest } from '../image/guest.ts'
import { type AdmitOptions, admit } from '../lease/admit.ts'
import type { GrantedLease } from '../lease/grant.ts'
import type { Owner } from '../lease/holder.ts'
import type { PortRange } from '../lease/ports.ts'
import { chooseAccel } from '../qemu/accel.ts'
import { outsideScope } from '../scope.ts'
import type { TemplateStore, VmHome, VmSite } from '../vm/home.ts'
import { suiteEnv } from './leftovers.ts'
import type { Links } from './links.ts'
import type { ProgressListener } from './progress.ts'
import { openTemplateStore } from './template-store.ts'

interface SiteOptions {
  host: Host
  dir: string
  cacheDir?: string
  links: Links
  owner?: Owner
  ports?: PortRange
  admission?: AdmitOptions
  onProgress?: ProgressListener
}

/** What VMs on a DUT need to start: the guest, built once; the accelerator; sockets; an identity. */
export function siteOf(
  home: VmHome,
  { host, dir, cacheDir, links, owner, ports, admission, onProgress }: SiteOptions,
): VmSite {
  const note = (line: string, once?: boolean) =>
    onProgress?.({ kind: 'note', dut: home.name, line, ...(once && { once }) })
  const accels = new Map<string, ReturnType<typeof chooseAccel>>()
  let guest: Promise<Guest> | undefined
  let store: Promise<TemplateStore> | undefined
  return {
    home,
    dir,
    env: suiteEnv(dir),
    macByte: Math.floor(Math.random() * 256),
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
      const options = { ...admission, owner, signal, onWait: (line: string) => note(line) }
      const [lease] = await admit(host, [{ ...need, ...where }], options)
      return lease as GrantedLease
    },
    guest: () => {
      guest ??= outsideScope(() => ensureGuest({ host, cacheDir, onProgress: note }))
      guest.catch(() => {
        guest = undefined
      })
      return guest
    },
    accel: (qemu, wanted) => {
      const onNote = (line: string) => note(line, true)
      const key = `${wanted} ${qemu}`
      const choice = accels.get(key) ?? chooseAccel({ host, qemu, wanted, cacheDir, onNote })
      accels.set(key, choice)
      choice.catch(() => accels.delete(key))
      return choice.then(({ accel }) => accel)
    },
  }
}
