import { type DutErrorDetails, GuestError, InfrastructureError } from '../errors.ts'
import type { Dut } from '../fleet/dut.ts'
import { Vm } from '../vm/vm.ts'

/** Where a DPDK program runs: in a guest, or on the host that the guests are on. */
export type Target = Vm | Dut

export function isVm(target: Target): target is Vm {
  return target instanceof Vm
}

/** The error of something that went wrong there: the guest's fault, or the host's. */
export function targetError(target: Target, message: string, details: DutErrorDetails = {}) {
  return isVm(target)
    ? new GuestError(message, { vm: target.name, dut: target.dut.name, ...details })
    : new InfrastructureError(message, { dut: target.name, ...details })
}
