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

export type Device =
  | ({ kind: 'vhost-user' } & VhostUserOptions)
  | ({ kind: 'link'; name: string } & NicOptions)
  | ({ kind: 'user-net'; forwards: Required<Forward>[] } & NicOptions)
  | { kind: 'raw'; args: readonly string[] }

const NIC_KEYS = ['mac', 'properties']

/**
 * A virtio NIC whose backend is a vhost-user process (a switch, a testpmd) at a unix socket. The VM's
 * memory becomes shared by itself.
 *
 * @throws UsageError for an unknown option, a path too long for a unix socket, or a bad address
 */
export function vhostUser(options: VhostUserOptions): Device {
  checkKeys('vhostUser', options, [...NIC_KEYS, 'path', 'server', 'queues'])
  checkNic('vhostUser', options)
  if (typeof options.path !== 'string' || options.path === '') {
    throw new UsageError('vhostUser: path is missing', { hint: `vhostUser({ path: '/run/…' })` })
  }
  const { length } = Buffer.from(options.path)
  if (length > LONGEST_SOCKET_PATH) {
    throw new UsageError(`vhostUser: path has ${length} bytes: ${options.path}`, {
      hint: `a unix socket's path has at most ${LONGEST_SOCKET_PATH}; dut.dir is a short folder`,
    })
  }
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

/** QEMU arguments as they are, for devices that have no function here: `raw('-device', 'edu')`. */
export function raw(...args: string[]): Device {
  if (args.length === 0 || args.some((arg) => typeof arg !== 'string' || arg.includes('\0'))) {
    throw new UsageError('raw: give QEMU arguments as strings', { hint: `raw('-device', 'edu')` })
  }
  return { kind: 'raw', args }
}

function checkNic(what: string, { mac, properties = {} }: NicOptions): void {
  if (mac !== undefined && !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) {
    throw new UsageError(`${what}: ${JSON.stringify(mac)} is not an Ethernet address`, {
      hint: `write it like '52:54:00:00:00:01'`,
    })
  }
  for (const [key, value] of Object.entries(properties)) {
    if (!/^[\w.-]+$/.test(key) || !['string', 'number', 'boolean'].includes(typeof value)) {
      throw new UsageError(`${what}: ${JSON.stringify(key)} cannot be a device property`)
    }
  }
}
