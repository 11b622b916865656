import { UsageError } from '../errors.ts'
import { LONGEST_SOCKET_PATH } from '../host/host.ts'
import { checkInteger, checkKeys } from '../options.ts'

/** A value of a QEMU device property; booleans become `on` and `off`. */
export type Property = string | number | boolean

interface NicOptions {
  /** Ethernet address, e.g. `'52:54:00:00:00:01'`; a unique one is made where none is given. */
  mac?: string
  /** Further properties of virtio-net-pci, e.g. `{ packed: true, mrg_rxbuf: false }`. */
  properties?: Record<string, Property>
}

export interface VhostUserOptions extends NicOptions {
  /** The backend's unix socket on the DUT. */
  path: string
  /** QEMU makes the socket and waits for the backend to connect; by default the backend does. */
  server?: boolean
  /** Queue pairs, 1 to 128; 1 by default. */
  queues?: number
}

export interface UserNetOptions extends NicOptions {
  /** Guest ports to reach from the host; each gets a host port of its own. */
  forward?: readonly (number | Forward)[]
}

export interface Forward {
  /** Port in the guest. */
  port: number
  protocol?: 'tcp' | 'udp'
}

export interface TapOptions extends NicOptions {
  /**
   * The bridge that the tap is attached to. One that is not there is made, and removed after its last
   * user.
   */
  bridge?: string
  /**
   * A tap that is there already, and stays as it is; whoever owns it needs no rights. A new one is made
   * where none is given, which needs CAP_NET_ADMIN and goes with its QEMU.
   */
  name?: string
}

export interface VirtioCryptoOptions {
  /**
   * The vhost-user backend's unix socket on the DUT, such as DPDK's vhost_crypto; QEMU's own backend
   * where none is given.
   */
  path?: string
  /** QEMU makes the socket and waits for the backend to connect; by default the backend does. */
  server?: boolean
  /** Of data, 1 to 64; 1 by default, and with QEMU's own backend. */
  queues?: number
  /** Further properties of virtio-crypto-pci. */
  properties?: Record<string, Property>
}

export type Device =
  | ({ kind: 'vhost-user' } & VhostUserOptions)
  | ({ kind: 'link'; name: string } & NicOptions)
  | ({ kind: 'user-net'; forwards: Required<Forward>[] } & NicOptions)
  | ({ kind: 'tap' } & TapOptions)
  | ({ kind: 'virtio-crypto' } & VirtioCryptoOptions)
  | { kind: 'vfio'; address: string; properties?: Record<string, Property> }
  | { kind: 'raw'; args: readonly string[] }

const NIC_KEYS = ['mac', 'properties']
/** Folders beside those of the interfaces in /proc/sys/net/ipv4/conf. */
const NO_INTERFACES = ['all', 'default']

/**
 * A virtio NIC whose backend is a vhost-user process (a switch, a testpmd) at a unix socket. The VM's
 * memory becomes shared by itself.
 *
 * @throws UsageError for an unknown option, a path too long for a unix socket, or a bad address
 */
export function vhostUser(options: VhostUserOptions): Device {
  checkKeys('vhostUser', options, [...NIC_KEYS, 'path', 'server', 'queues'])
  checkNic('vhostUser', options)
  checkSocket('vhostUser', options.path)
  if (options.queues !== undefined) checkInteger('vhostUser: queues', options.queues, 1, 128)
  return { kind: 'vhost-user', ...options }
}

/**
 * A virtio NIC on an Ethernet segment that all VMs of the DUT share which name it. It needs no rights,
 * no port of the host, and nothing outside the suite can see it.
 *
 * @throws UsageError for a bad name, an unknown option or a bad address
 */
export function link(name: string, options: NicOptions = {}): Device {
  if (typeof name !== 'string' || !/^[\w.-]{1,32}$/.test(name)) {
    throw new UsageError(`link: ${JSON.stringify(name)} is not a name`, {
      hint: 'up to 32 letters, digits, dots, dashes and underscores',
    })
  }
  checkKeys('link', options, NIC_KEYS)
  checkNic('link', options)
  return { kind: 'link', name, ...options }
}

/**
 * A virtio NIC behind QEMU's own NAT (10.0.2.0/24), whose `forward`ed guest ports the host reaches at
 * `vm.forward(port)`.
 *
 * @throws UsageError for an unknown option or a port out of range
 */
export function userNet(options: UserNetOptions = {}): Device {
  checkKeys('userNet', options, [...NIC_KEYS, 'forward'])
  checkNic('userNet', options)
  const { forward = [], ...nic } = options
  const forwards = forward.map((entry) => {
    const { port, protocol = 'tcp' } = typeof entry === 'number' ? { port: entry } : entry
    checkInteger('userNet: forward', port, 1, 65_535)
    if (protocol !== 'tcp' && protocol !== 'udp') {
      throw new UsageError(`userNet: ${JSON.stringify(protocol)} is neither 'tcp' nor 'udp'`)
    }
    return { port, protocol }
  })
  return { kind: 'user-net', forwards, ...nic }
}

/**
 * A virtio NIC on a tap: a network interface of the host, by itself or on a bridge. QEMU moves its
 * packets; vhost-net is not used.
 *
 * @throws UsageError for an unknown option, a name that no interface can have, a bad address, or a
 *   bridge for a tap that is there already
 */
export function tap(options: TapOptions = {}): Device {
  checkKeys('tap', options, [...NIC_KEYS, 'bridge', 'name'])
  checkNic('tap', options)
  const { bridge, name } = options
  if (bridge !== undefined) checkInterface('tap: bridge', bridge)
  if (name !== undefined) checkInterface('tap: name', name)
  if (bridge !== undefined && name !== undefined) {
    throw new UsageError(
      `tap: ${name} is there already and is not attached to ${bridge} from here`,
      {
        hint: `say ip link set ${name} master ${bridge}, and leave bridge out; or leave name out`,
      },
    )
  }
  return { kind: 'tap', ...options }
}

/**
 * A PCI device of the host, handed to the guest as a whole while the VM lives. The host needs an
 * IOMMU and the module vfio-pci.
 *
 * @param address as in lspci, e.g. `'0000:03:00.0'`; `'03:00.0'` is in domain 0000
 * @param properties of QEMU's vfio-pci, e.g. `{ 'x-no-mmap': true }`
 * @throws UsageError for a malformed address or property
 */
export function vfio(address: string, properties?: Record<string, Property>): Device {
  const [, domain = '0000:', slot] =
    /^([0-9a-f]{4,8}:)?([0-9a-f]{2}:[01][0-9a-f]\.[0-7])$/i.exec(address) ?? []
  if (typeof address !== 'string' || slot === undefined) {
    throw new UsageError(`vfio: ${JSON.stringify(address)} is not a PCI address`, {
      hint: `write it as lspci -D does, like '0000:03:00.0'`,
    })
  }
  checkProperties('vfio', properties)
  return {
    ...{ kind: 'vfio', address: (domain + slot).toLowerCase() },
    ...(properties && { properties }),
  }
}

/**
 * A virtio crypto device (PCI 1af4:1054), whose backend is a vhost-user process at a unix socket, or
 * QEMU itself. With a socket, the VM's memory becomes shared by itself.
 *
 * @throws UsageError for an unknown option, a path too long for a unix socket, a bad property, or more
 *   queues than QEMU's own backend has
 */
export function virtioCrypto(options: VirtioCryptoOptions = {}): Device {
  checkKeys('virtioCrypto', options, ['path', 'server', 'queues', 'properties'])
  const { path, server = false, queues = 1, properties } = options
  checkProperties('virtioCrypto', properties)
  // As many as QEMU's virtio-crypto takes (MAX_CRYPTO_QUEUE_NUM in its cryptodev.h).
  checkInteger('virtioCrypto: queues', queues, 1, 64)
  if (path !== undefined) {
    checkSocket('virtioCrypto', path)
  } else if (server || queues > 1) {
    throw new UsageError(
      `virtioCrypto: ${server ? 'server' : 'queues'} is for a backend at a path`,
      {
        hint: `virtioCrypto({ path: '/run/…' }); QEMU's own backend has one queue and no socket`,
      },
    )
  }
  return { kind: 'virtio-crypto', ...options }
}

/** QEMU arguments as they are, for devices that have no function here: `raw('-device', 'edu')`. */
export function raw(...args: string[]): Device {
  if (args.length === 0 || args.some((arg) => typeof arg !== 'string' || arg.includes('\0'))) {
    throw new UsageError('raw: give QEMU arguments as strings', { hint: `raw('-device', 'edu')` })
  }
  return { kind: 'raw', args }
}

function checkSocket(what: string, path: string): void {
  if (typeof path !== 'string' || path === '') {
    throw new UsageError(`${what}: path is missing`, { hint: `${what}({ path: '/run/…' })` })
  }
  const { length } = Buffer.from(path)
  if (length <= LONGEST_SOCKET_PATH) return
  throw new UsageError(`${what}: path has ${length} bytes: ${path}`, {
    hint: `a unix socket's path has at most ${LONGEST_SOCKET_PATH}; dut.dir is a short folder`,
  })
}

function checkNic(what: string, { mac, properties }: NicOptions): void {
  if (mac !== undefined && !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) {
    throw new UsageError(`${what}: ${JSON.stringify(mac)} is not an Ethernet address`, {
      hint: `write it like '52:54:00:00:00:01'`,
    })
  }
  checkProperties(what, properties)
}

function checkProperties(what: string, properties: Record<string, Property> = {}): void {
  for (const [key, value] of Object.entries(properties)) {
    if (!/^[\w.-]+$/.test(key) || !['string', 'number', 'boolean'].includes(typeof value)) {
      throw new UsageError(`${what}: ${JSON.stringify(key)} cannot be a device property`)
    }
  }
}

/**
 * Narrower than the kernel's dev_valid_name: 15 bytes, without what is an option to ip(8), a pattern
 * to the kernel (`br%d`), or a folder of /proc/sys/net. QEMU would cut a longer name off unasked.
 */
function checkInterface(what: string, name: string): void {
  if (typeof name === 'string' && /^\w[\w.-]{0,14}$/.test(name) && !NO_INTERFACES.includes(name))
    return
  throw new UsageError(`${what}: ${JSON.stringify(name)} cannot be a network interface's name`, {
    hint: 'up to 15 letters, digits, dots, dashes and underscores, no dot or dash first',
  })
}
