import { shellQuote } from '../console/line.ts'
import { UsageError } from '../errors.ts'
import { guestNics } from '../vm/network/ports.ts'
import type { Vm } from '../vm/vm.ts'
import { targetError } from './target.ts'

/** A virtio NIC as the guest sees it. */
export interface Nic {
  /** E.g. `'0000:00:03.0'`. */
  pci: string
  /** `'virtio-pci'`, `'uio_pci_generic'`, …; undefined where none holds it. */
  driver?: string
  /** Its network interface and Ethernet address, while the kernel's driver holds it. */
  netdev?: string
  mac?: string
}

/** Of PCI: virtio's (https://docs.oasis-open.org/virtio/virtio/v1.2/virtio-v1.2.html, 4.1.2). */
const VIRTIO = '0x1af4'

/** The guest's virtio NICs, ordered by their PCI address, which is the order of the VM's devices. */
export async function nics(vm: Vm): Promise<Nic[]> {
  const all = await guestNics(vm)
  return all.flatMap(({ vendor, ...nic }) => (vendor === VIRTIO ? [nic] : []))
}

/**
 * Gives a NIC of the guest to another driver: `'uio_pci_generic'` for DPDK, `'virtio-pci'` for the
 * guest's kernel. Resolves with the driver that had it before, of `'all'` with a list.
 *
 * @param which a PCI address, the NIC's place in `nics(vm)`, or `'all'`
 * @throws GuestError when the guest has no such NIC or driver, or the driver does not take the NIC,
 *   which the kernel has then
 */
export async function bindDriver(
  vm: Vm,
  which: 'all',
  driver: string,
): Promise<(string | undefined)[]>
export async function bindDriver(
  vm: Vm,
  which: string | number,
  driver: string,
): Promise<string | undefined>
export async function bindDriver(vm: Vm, which: string | number, driver: string) {
  if (!/^[\w-]{1,64}$/.test(driver)) {
    throw new UsageError(`bindDriver: ${JSON.stringify(driver)} cannot be a driver's name`, {
      hint: `'uio_pci_generic' or 'virtio-pci'`,
    })
  }
  const found = await nics(vm)
  const wanted =
    which === 'all'
      ? found
      : found.filter((nic, i) => (typeof which === 'number' ? i === which : nic.pci === which))
  if (wanted.length === 0) {
    throw targetError(vm, `the guest has no NIC ${JSON.stringify(which)}`, {
      hint:
        found.length === 0
          ? `it has none at all: devices: [link('lan')], or vhostUser({ path })`
          : `it has: ${found.map(({ pci }, i) => `${i} (${pci})`).join(', ')}`,
    })
  }
  const { stdout, exitCode } = await vm.exec(
    bindScript(
      wanted.map(({ pci }) => pci),
      driver,
    ),
  )
  if (exitCode === NO_DRIVER) {
    throw targetError(vm, `the guest has no PCI driver named ${driver}`, {
      hint: `loaded are: ${stdout.trim()}; another kernel module can be brought in by vm.copyIn and insmod`,
    })
  }
  if (exitCode !== 0) {
    throw targetError(vm, `${driver} did not take ${stdout.trim() || 'the NIC'}`, {
      tail: vm.kernelLog.trimEnd().split('\n').slice(-5).join('\n'),
      hint: driver === 'vfio-pci' ? 'it needs an IOMMU; use uio_pci_generic' : undefined,
    })
  }
  const previous = wanted.map((nic) => nic.driver)
  return which === 'all' ? previous : previous[0]
}

const NO_DRIVER = 3
const NOT_TAKEN = 4

/** `driver_override` (sysfs-bus-pci in the kernel's ABI documents) names the one driver that may bind. */
function bindScript(addresses: readonly string[], driver: string): string {
  const name = shellQuote(driver)
  return `
cd /sys/bus/pci
[ -d drivers/${name} ] || modprobe -q ${name}
[ -d drivers/${name} ] || { cd drivers; echo *; exit ${NO_DRIVER}; }
for pci in ${addresses.join(' ')}; do
  [ devices/$pci/driver -ef drivers/${name} ] && continue
  echo ${driver === 'virtio-pci' ? '' : name} >devices/$pci/driver_override
  [ -e devices/$pci/driver ] && echo $pci >devices/$pci/driver/unbind
  echo $pci >drivers_probe 2>/dev/null
  [ devices/$pci/driver -ef drivers/${name} ] && continue
  echo >devices/$pci/driver_override
  echo $pci >drivers_probe 2>/dev/null
  echo $pci
  exit ${NOT_TAKEN}
done`
}
