import { type ExecOptions, exec } from '../../guest-protocol/exec.ts'
import type { PlacedDevice } from '../../qemu/args.ts'
import { deviceId, pciAddresses } from '../../qemu/plug.ts'
import type { VmParts } from '../lifecycle/internals.ts'

/** The other end of a network port: as it was configured, or else as it was detected. */
export type Peer =
  | { kind: 'link'; name: string }
  | { kind: 'vhost-user'; path: string }
  | { kind: 'tap'; name: string; bridge?: string }
  | { kind: 'user-net' }
  /** A device of the DUT, which leads wherever its cable does. */
  | { kind: 'vfio'; address: string }
  /** Detected, where nothing was configured that says it: ports of VMs. */
  | { kind: 'ports'; ports: ConnectedPort[] }

/** A port of a VM that another one reaches, or is reached by. */
export interface ConnectedPort {
  dut: string
  vm: string
  pci: string
  netdev: string
  id?: string
  mac?: string
  /** `'out'`: what the other sends comes to this one, and nothing comes back; `'in'`: the reverse. */
  direction: 'both' | 'out' | 'in'
}

/** An Ethernet device as the guest sees it. */
export interface GuestNic {
  /** E.g. `'0000:01:00.0'`. */
  pci: string
  /** Of PCI, e.g. `'0x1af4'` for virtio. */
  vendor: string
  /** `'virtio-pci'`, `'uio_pci_generic'`, …; undefined where none holds it. */
  driver?: string
  /** Its network interface and Ethernet address, while a driver of the kernel holds it. */
  netdev?: string
  mac?: string
}

/** A network port of a guest. */
export interface Port extends Omit<GuestNic, 'vendor'> {
  /** What `vm.unplug` takes; undefined for a NIC that `raw` made. */
  id?: string
  peer?: Peer
  /**
   * What was detected: every port of a VM that it is connected to, whatever is in between; itself, where
   * what it sends comes back. Empty where it is not connected; undefined where nobody looked.
   */
  connected?: ConnectedPort[]
  /** Why it was not looked at, where others were. */
  notProbed?: string
}

/** Only what bash can do by itself: under emulation every program that is started costs 10 ms. */
const LIST = `
shopt -s nullglob
for nic in /sys/bus/pci/devices/*; do
  read -r class <$nic/class && read -r vendor <$nic/vendor || continue
  [[ $class = 0x0200* ]] || continue
  driver=- netdev=- mac=-
  [ -e $nic/driver ] && driver=$(cd -P $nic/driver && echo "\${PWD##*/}")
  for net in $nic/net/* $nic/virtio*/net/*; do netdev=\${net##*/}; read -r mac <$net/address; done
  echo \${nic##*/} $vendor $driver $netdev $mac
done 2>/dev/null # what goes meanwhile`

interface Guest {
  exec(script: string, options: { check: boolean }): Promise<{ stdout: string }>
}

/** The guest's Ethernet devices, ordered by their PCI address. */
export async function guestNics(guest: Guest): Promise<GuestNic[]> {
  const { stdout } = await guest.exec(LIST, { check: true })
  const lines = stdout.split('\n').filter((line) => line !== '')
  return lines.map((line) => {
    const [pci = '', vendor = '', ...rest] = line.split(' ')
    const [driver, netdev, mac] = rest.map((word) => (word === '-' ? undefined : word))
    return { pci, vendor, driver, netdev, mac }
  })
}

/** The ports of a VM as they were configured. */
export async function portsOf({ machine, plugs }: VmParts): Promise<Port[]> {
  const guest = { exec: (script: string, options: ExecOptions) => exec(machine, script, options) }
  const [nics, addresses] = await Promise.all([guestNics(guest), pciAddresses(machine.qmp)])
  const byAddress = new Map(
    [...plugs.placed].map(([number, device]) => [
      addresses.get(deviceId(number)),
      { number, device },
    ]),
  )
  return nics.map(({ vendor: _, ...nic }) => {
    const known = byAddress.get(nic.pci)
    if (known === undefined) return nic
    const { number, device } = known
    const mac = nic.mac ?? (device.mac || undefined)
    return { ...nic, mac, id: deviceId(number), peer: peerOf(device) }
  })
}

function peerOf({ device, tap }: PlacedDevice): Peer | undefined {
  switch (device.kind) {
    case 'link':
      return { kind: 'link', name: device.name }
    case 'vhost-user':
      return { kind: 'vhost-user', path: device.path }
    case 'tap':
      return { kind: 'tap', name: tap ?? '', ...(device.bridge && { bridge: device.bridge }) }
    case 'user-net':
      return { kind: 'user-net' }
    case 'vfio':
      return { kind: 'vfio', address: device.address }
    case 'virtio-crypto':
    case 'raw':
      return undefined
  }
}
