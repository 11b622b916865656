import { exec } from '../console/exec.ts'
import { CommandTimeoutError, GuestError } from '../errors.ts'
import type { Machine } from './machine.ts'

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

/** Prints the name and the Ethernet address. */
function awaitNetdev(pci: string): string {
  return `
found() {
  for nic in /sys/bus/pci/devices/${pci}/virtio*/net/*; do
    [[ -e $nic/address ]] && read -r mac <$nic/address && return
  done
  return 1
}
${napUntil('found')}
echo "\${nic##*/} $mac"`
}
