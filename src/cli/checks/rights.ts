import { userInfo } from 'node:os'
import { type Check, degraded, ok } from './check.ts'

/** capability.h: the bit of CAP_NET_ADMIN. */
const NET_ADMIN = 1n << 12n
const TUN = '/dev/net/tun'

export const user: Check = {
  name: 'user',
  look: async ({ root, uid }) => ok(root ? 'root' : `${nameOf(uid)}, not root`),
}

export const taps: Check = {
  name: 'taps',
  look: async ({ host }) => {
    const status = Buffer.from(await host.readFile('/proc/self/status')).toString()
    const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
    if ((effective & NET_ADMIN) === 0n) {
      return degraded('may not make taps: that needs root or CAP_NET_ADMIN')
    }
    const tun = await host.fileFacts(TUN)
    if (tun === undefined) return degraded(`may not make taps: there is no ${TUN}`, 'modprobe tun')
    if (!tun.writable) return degraded(`may not make taps: no permission to use ${TUN}`)
    return ok('may make taps')
  },
}

/** A user without an entry in passwd(5) has only a number. */
function nameOf(uid: number): string {
  try {
    return `${userInfo().username} (uid ${uid})`
  } catch {
    return `uid ${uid}`
  }
}
