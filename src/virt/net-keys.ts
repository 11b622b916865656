import { UsageError } from '../errors.ts'
import { type Device, raw, tap, userNet, vfio, vhostUser, virtioCrypto } from '../qemu/devices.ts'
import { deviceOption } from '../qemu/option-value.ts'
import type { Draft, NicDraft } from './draft.ts'
import { type Key, PASS_ON } from './machine-keys.ts'
import { type Options, readProperties } from './values.ts'

const NIC = [
  'netdev',
  'opt_model',
  'opt_vlan',
  'opt_macaddr',
  'opt_name',
  'opt_addr',
  'opt_vectors',
]
const DEVICE = [
  ...['driver', 'opt_path', 'opt_mac', 'opt_server', 'opt_queue', 'opt_legacy', 'opt_settings'],
  ...['opt_script', 'opt_br', 'opt_host', 'opt_addr', 'opt_netdev', 'opt_id', 'opt_bus', 'opt_tap'],
]

const GUEST_ADDRESS = 'leave it out: a device has a place; opt_addr says which'

/** The keys that are about devices. */
export const NET_KEYS: Record<string, Key> = {
  net: {
    options: ['type', ...NIC, 'opt_hostfwd', 'opt_br', 'opt_script', 'opt_downscript'],
    read: readNet,
  },
  device: {
    options: DEVICE,
    instead: { pf_idx: PASS_ON, vf_idx: PASS_ON, pf_dev: PASS_ON, guestpci: GUEST_ADDRESS },
    read: readDevice,
  },
  crypto: {
    options: ['enable', 'opt_num'],
    read: (options, { spec, notes }) => {
      if (options.flag('enable') === false) return
      const count = options.number('opt_num', 1) ?? 1
      for (let i = 0; i < count; i++) spec.devices.push(virtioCrypto())
      notes.push(
        'crypto: its backend is QEMU; one of DPDK: virtioCrypto({ path }) with its socket, not /tmp/<vm>_crypto<i>.sock',
      )
    },
  },
}

function readNet(options: Options, draft: Draft): void {
  const type = options.get('type') ?? 'nic'
  const read = NETS.get(type)
  if (read === undefined) {
    throw new UsageError(`${options.what}: type: ${JSON.stringify(type)} is not honoured`, {
      hint:
        type === 'bridge'
          ? 'it made no device: write type=tap,opt_br=br0'
          : 'nic, user or tap; a vhost-user NIC is a device',
    })
  }
  // DTS passed over them, too.
  for (const name of ['netdev', 'opt_vlan', 'opt_name']) {
    if (options.get(name) === undefined) continue
    draft.notes.push(
      `net: ${name} is passed over: each NIC has what it is connected to, and its id`,
    )
  }
  read(options, draft)
}

/** A NIC is made with what it is connected to: here is only said what it is like. */
function readNic(options: Options, draft: Draft): void {
  const model = options.get('opt_model') ?? 'e1000'
  if (!/^(virtio|virtio-net-pci)$/.test(model)) {
    draft.notes.push(
      `net: the NIC is a virtio one in place of an ${model}, which has no driver everywhere`,
    )
  }
  const [mac, addr] = [options.get('opt_macaddr'), options.get('opt_addr')]
  const vectors = options.number('opt_vectors')
  const properties = {
    ...(addr !== undefined && { addr }),
    ...(vectors !== undefined && { vectors }),
  }
  const nic = {
    ...(mac !== undefined && { mac }),
    ...(Object.keys(properties).length > 0 && { properties }),
  }
  if (draft.nic) {
    throw new UsageError(`${options.what}: the NIC before it is connected to nothing`, {
      hint: 'for each type=nic one of type=user or type=tap',
    })
  }
  // Its connection may have come before it.
  if (draft.unpaired) draft.unpaired(nic)
  else draft.nic = nic
  draft.unpaired = undefined
}

/** Adds what a NIC is connected to, with the NIC that waits for it, or for one that may come. */
function connect(draft: Draft, make: (nic: NicDraft) => Device): void {
  const { nic } = draft
  const { devices } = draft.spec
  const place = devices.length
  const put = (nic: NicDraft) => {
    devices[place] = make(nic)
  }
  put(nic ?? {})
  draft.nic = undefined
  draft.unpaired = nic ? undefined : put
}

function readUser(options: Options, draft: Draft): void {
  const text = options.get('opt_hostfwd')
  const forward =
    text === undefined ? { port: 22, protocol: 'tcp' as const } : readForward(options, text)
  connect(draft, (nic) => userNet({ ...nic, forward: [forward] }))
  draft.notes.push(`net: vm.forward(${forward.port}) says which of the host's ports is forwarded`)
}

function readForward(options: Options, text: string) {
  const [, protocol = 'tcp', port] = /^(tcp|udp)?:[^:]*:\d*-[^:]*:(\d+)$/.exec(text) ?? []
  if (port === undefined) {
    throw new UsageError(`${options.what}: opt_hostfwd: ${JSON.stringify(text)} is malformed`, {
      hint: 'tcp:HOST:PORT-GUEST:PORT, such as tcp:127.0.0.1:6000-:22',
    })
  }
  return { port: Number(port), protocol: protocol as 'tcp' | 'udp' }
}

function readTap(options: Options, draft: Draft): void {
  const why = 'the tap is attached to the bridge of opt_br, and no file of /etc is written'
  for (const name of ['opt_script', 'opt_downscript']) options.refuse(name, why)
  connect(draft, (nic) => tap({ ...nic, bridge: options.get('opt_br') ?? 'br0' }))
}

const NETS = new Map([
  ['nic', readNic],
  ['user', readUser],
  ['tap', readTap],
])

function readDevice(options: Options, { spec }: Draft): void {
  const driver = options.get('driver') ?? 'pci-assign'
  const only = (...names: string[]) => {
    for (const name of DEVICE.slice(1)) {
      if (!names.includes(name)) options.refuse(name, `it is not for driver=${driver}`)
    }
  }
  switch (driver) {
    case 'vhost-user': {
      options.refuse('opt_script', 'a tap is type=tap of net, or tap({ bridge })')
      options.refuse('opt_br', 'a tap is type=tap of net, or tap({ bridge })')
      only('opt_path', 'opt_mac', 'opt_server', 'opt_queue', 'opt_legacy', 'opt_settings')
      // Some suites put the server mode behind the path.
      const [path = '', ...modes] = options.need('opt_path').split(',')
      const mode = [options.get('opt_server'), ...modes].filter((word) => word !== undefined)
      if (mode.some((word) => !/^(server|server=on|wait=off|nowait)$/.test(word))) {
        throw new UsageError(`${options.what}: opt_server: ${mode.join(',')} is not server`)
      }
      const queues = options.number('opt_queue', 1)
      spec.devices.push(
        vhostUser({
          ...{ path, ...(queues && { queues }), ...nicOf(options) },
          ...(mode.length > 0 && { server: true }),
        }),
      )
      return
    }
    case 'virtio-net-pci': {
      only('opt_netdev', 'opt_id', 'opt_mac', 'opt_bus', 'opt_addr', 'opt_legacy', 'opt_settings')
      const { mac, properties } = nicOf(options)
      const places = {
        ...{ netdev: options.get('opt_netdev'), id: options.get('opt_id'), mac },
        ...{ bus: options.get('opt_bus'), addr: options.get('opt_addr') },
      }
      const given = Object.entries(places).flatMap(([key, value]) =>
        value === undefined ? [] : [[key, value] as const],
      )
      const all = { ...Object.fromEntries(given), ...properties }
      spec.devices.push(raw('-device', deviceOption('virtio-net-pci', all)))
      return
    }
    case 'vfio-pci': {
      only('opt_host', 'opt_addr')
      const addr = options.get('opt_addr')
      spec.devices.push(vfio(options.need('opt_host'), addr === undefined ? undefined : { addr }))
      return
    }
    case 'pci-assign':
      throw new UsageError(`${options.what}: pci-assign is gone from QEMU`, {
        hint: 'driver=vfio-pci, or vfio(address)',
      })
    case 'vhost-cuse':
      throw new UsageError(`${options.what}: vhost-cuse is gone from DPDK`, {
        hint: 'driver=vhost-user, or vhostUser({ path })',
      })
    default:
      throw new UsageError(`${options.what}: driver: ${JSON.stringify(driver)} is unknown`, {
        hint: 'vhost-user, virtio-net-pci or vfio-pci; another one: usercmd with -device',
      })
  }
}

function nicOf(options: Options) {
  const mac = options.get('opt_mac')
  const legacy = options.flag('opt_legacy')
  const settings = options.get('opt_settings')
  const properties = {
    ...(legacy !== undefined && { 'disable-modern': legacy }),
    // In a port of PCI Express, where NICs are here, QEMU leaves that out unless it is told.
    ...(legacy && { 'disable-legacy': false }),
    ...(settings !== undefined && readProperties(`${options.what}: opt_settings`, settings)),
  }
  return { ...(mac && { mac }), ...(Object.keys(properties).length > 0 && { properties }) }
}
