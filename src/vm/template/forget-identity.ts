import { exec } from '../../guest-protocol/exec.ts'
import type { Machine } from '../instance/running-guest.ts'
import type { ResolvedSpec } from '../spec/spec.ts'

/**
 * A driver agrees with its device on what both can, and that depends on what the NIC is connected to:
 * so the saved NICs have none.
 */
const UNBIND_NICS = `
for nic in /sys/bus/pci/drivers/virtio-pci/*:*; do
  read -r class <"$nic/class"
  [[ $class != 0x020000 ]] || echo "\${nic##*/}" >/sys/bus/pci/drivers/virtio-pci/unbind
done
:`

/**
 * systemd-networkd reads the machine-id when it first sets up an interface, makes its DHCP client ids of
 * it, and never reads it again (sd_id128_get_machine(3)). One that begins anew has no interface yet, for
 * their drivers are off, and reads that of the clone.
 */
const BEGIN_ANEW = 'systemctl try-restart systemd-networkd'
const PATIENCE = '60s'

/** Takes from a guest that is to be saved what its clones shall find out for themselves. */
export async function forgetIdentity(machine: Machine, spec: ResolvedSpec): Promise<void> {
  if (spec.devices.length > 0) await exec(machine, UNBIND_NICS, { check: true })
  if (spec.guest === 'default') return
  await exec(machine, BEGIN_ANEW, { timeout: PATIENCE }).catch(() => {}) // it may have no systemd
}
