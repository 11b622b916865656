import { InfrastructureError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'

/**
 * The device group of bridges that were made here: the kernel itself keeps who made them, from the
 * moment they are there until they are gone. It is the ASCII of `dut`.
 */
const GROUP = String(0x647574)

/**
 * Makes sure that the bridge is there and up. Needs CAP_NET_ADMIN only where it is not.
 *
 * @returns whether it was made now
 * @throws InfrastructureError where that is not allowed, or another interface has the name
 */
export async function ensureBridge(host: Host, name: string): Promise<boolean> {
  const found = await findBridge(host, name)
  if (found === undefined) {
    // Without an address of its own it takes that of a port, another one when that port leaves, and
    // the guests' ARP entries for the host would be wrong for some seconds.
    const what = ['name', name, 'group', GROUP, 'address', randomAddress(), 'up', 'type', 'bridge']
    const { exitCode, stderr } = await ip(host, 'link', 'add', ...what)
    if (exitCode === 0) return true
    // Somebody outside of this package may have been quicker.
    if ((await findBridge(host, name)) !== undefined) return ensureBridge(host, name)
    throw refused(host, `the bridge ${name} cannot be made`, stderr)
  }
  if (found.flags.includes('UP')) return false
  const { exitCode, stderr } = await ip(host, 'link', 'set', 'dev', name, 'up')
  if (exitCode === 0) return false
  throw refused(host, `the bridge ${name} cannot be set up`, stderr)
}

/** Names of the bridges of the host that `ensureBridge` made, in whatever process, and that are still there. */
export async function bridgesMadeHere(host: Host): Promise<string[]> {
  if ((await host.findProgram('ip')) === undefined) return []
  const found = await links(host, 'group', GROUP)
  return found.filter(isBridge).map((link) => link.ifname)
}

/**
 * Removes a bridge that nothing is attached to; a tap of a VM leaves it with its QEMU. Nothing happens
 * where there is none.
 *
 * @throws InfrastructureError where an interface is still attached, or it is no bridge
 */
export async function removeBridge(host: Host, name: string): Promise<void> {
  if ((await findBridge(host, name)) === undefined) return
  const ports = await links(host, 'master', name)
  if (ports.length > 0) {
    const names = ports.map((port) => port.ifname).join(', ')
    throw new InfrastructureError(`the bridge ${name} is not removed: ${names} is attached to it`, {
      dut: host.name,
      hint: `somebody uses it; where nobody does: ip link delete ${name}`,
    })
  }
  const { exitCode, stderr } = await ip(host, 'link', 'delete', 'dev', name, 'type', 'bridge')
  if (exitCode === 0 || (await findBridge(host, name)) === undefined) return
  throw refused(host, `the bridge ${name} cannot be removed`, stderr)
}

/**
 * Attaches a tap that is there to a bridge that is there, if one is given, and sets the tap up. The
 * kernel takes it off again when it removes the tap.
 *
 * @throws InfrastructureError where one of them is missing or it is not allowed
 */
export async function attachTap(
  host: Host,
  tap: string,
  bridge: string | undefined,
): Promise<void> {
  const master = bridge === undefined ? [] : ['master', bridge]
  const { exitCode, stderr } = await ip(host, 'link', 'set', 'dev', tap, ...master, 'up')
  if (exitCode === 0) return
  const what = bridge === undefined ? 'set up' : `attached to the bridge ${bridge}`
  throw refused(host, `the tap ${tap} cannot be ${what}`, stderr)
}

/** An Ethernet address that is not any vendor's (the second bit: locally administered). */
function randomAddress(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(5))
  return ['02', ...Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0'))].join(':')
}

interface Link {
  ifname: string
  flags: string[]
  linkinfo?: { info_kind?: string }
}

async function findBridge(host: Host, name: string): Promise<Link | undefined> {
  const [link] = await links(host, 'dev', name)
  if (link === undefined || isBridge(link)) return link
  const kind = link.linkinfo?.info_kind ?? 'an interface of another kind'
  throw new InfrastructureError(`${name} is not a bridge: it is ${kind}`, {
    dut: host.name,
    hint: 'name another one: ip -br link shows what is there',
  })
}

function isBridge(link: Link): boolean {
  return link.linkinfo?.info_kind === 'bridge'
}

async function links(host: Host, ...which: [string, string]): Promise<Link[]> {
  const { exitCode, stdout, stderr } = await ip(host, '-json', '-details', 'link', 'show', ...which)
  if (exitCode === 0) return JSON.parse(stdout || '[]') as Link[]
  // By name it asks twice; the other words are for one that goes in between.
  if (/does not exist|No such device/.test(stderr)) return []
  throw refused(host, 'the network interfaces cannot be listed', stderr)
}

function ip(host: Host, ...args: string[]) {
  return host.run('ip', args)
}

function refused(host: Host, message: string, stderr: string): InfrastructureError {
  const denied = /Operation not permitted/.test(stderr)
  return new InfrastructureError(message, {
    dut: host.name,
    tail: stderr,
    hint: denied
      ? 'it needs CAP_NET_ADMIN: be root, or have root make the bridge and the taps beforehand'
      : 'ip -details link shows what is there',
  })
}
