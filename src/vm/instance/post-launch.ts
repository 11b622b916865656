import type { Host } from '../../host/host.ts'
import type { GrantedLease } from '../../lease/admission/grant.ts'
import { attachTap, ensureBridge } from '../../lease/resources/bridge.ts'
import type { PlacedDevice } from '../../qemu/args.ts'
import { tapsOf } from './backends.ts'
import { pinVcpus } from './cpu-pinning.ts'
import type { Engine } from './qemu-instance.ts'

/** Tells that QEMU has its memory now, and pins its threads. */
export async function settle(
  host: Host,
  { qemu, qmp, where, isClone }: Engine,
  lease: GrantedLease,
): Promise<void> {
  await lease.settle(qemu.pid, { isClone })
  if (lease.pin) await pinVcpus({ host, qmp, where }, lease.pin)
}

/** Sets up the taps that QEMU has made, each on its bridge. */
export async function attachTaps(host: Host, devices: readonly PlacedDevice[]): Promise<void> {
  for (const { tap, bridge } of tapsOf(devices)) {
    if (bridge !== undefined) await ensureBridge(host, bridge)
    await attachTap(host, tap, bridge)
  }
}
