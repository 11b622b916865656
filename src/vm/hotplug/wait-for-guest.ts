import { CommandTimeoutError, GuestError } from '../../errors.ts'
import { exec } from '../../guest-protocol/exec.ts'
import type { Machine } from '../instance/running-guest.ts'

/** A device that was plugged in, as the guest sees it. */
export interface PluggedDevice {
  /** What `vm.unplug` takes. */
  readonly id: string
  /** E.g. `'0000:01:00.0'`. */
  readonly pci: string
  /** A NIC's network interface and Ethernet address in the guest. */
  readonly netdev?: string
  readonly mac?: string
}

/**
 * Waits until the guest has a device: a NIC's network interface, or else the PCI device.
 *
 * @throws GuestError when it has not in time
 */
export async function awaitPlugged(
  machine: Machine,
  { id, pci, isNic, timeoutMs }: { id: string; pci: string; isNic: boolean; timeoutMs: number },
): Promise<PluggedDevice> {
  const script = isNic ? awaitNetdev(pci) : napUntil(`[[ -e /sys/bus/pci/devices/${pci} ]]`)
  const options = { timeout: timeoutMs, check: true }
  const { stdout } = await exec(machine, script, options).catch((error) => {
    if (!(error instanceof CommandTimeoutError)) throw error
    throw new GuestError(`the guest does not see ${id} at ${pci}`, {
      ...{ ...machine.where, elapsedMs: error.elapsedMs, tail: machine.kernelLog.tail() },
      hint: `is it paused? It stays plugged in: vm.unplug('${id}') takes it out`,
    })
  })
  if (!isNic) return { id, pci }
  const [netdev = '', mac = ''] = stdout.trim().split(' ')
  return { id, pci, netdev, mac }
}

// A nap on a pipe that nobody writes to: under emulation, to start `sleep` takes 10 ms of the guest's
// only CPU, which its kernel needs to find the device.
function napUntil(condition: string): string {
  return `exec {pipe}<> <(:); until ${condition}; do read -rt 0.01 -u $pipe; done`
}

/** How long a guest's udev may take to name a NIC that is there, in seconds. */
const UDEV_PATIENCE = 10

/**
 * Prints the name and the Ethernet address, once udev, where the guest has it, has given it its name. It
 * keeps a file on each interface that it has seen, with ID_RENAMING=1 from before it renames one until
 * the kernel has told it of that (rename_netif and udev_event_on_move in systemd).
 */
function awaitNetdev(pci: string): string {
  return `
nics=/sys/bus/pci/devices/${pci}/virtio*/net
isNamed() {
  [[ -S /run/udev/control ]] || return 0
  read -r index <$1/ifindex
  if [[ -e /run/udev/data/n$index ]]; then
    read -rd '' facts </run/udev/data/n$index
    [[ $facts = *ID_RENAMING=1* ]] || return 0
  fi
  ((SECONDS > \${since:=$SECONDS} + ${UDEV_PATIENCE}))
}
found() {
  for nic in $nics/*; do
    [[ -e $nic/address ]] && isNamed $nic || continue
    for nic in $nics/*; do read -r mac <$nic/address && return; done
  done
  return 1
} 2>/dev/null
${napUntil('found')}
echo "\${nic##*/} $mac"`
}
