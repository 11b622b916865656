// Set-up of the end-to-end tests whose VMs are all taken back to a snapshot before a test has them.
import { Dut } from '../../src/fleet/dut.ts'

const { startPlan } = Dut.prototype
Dut.prototype.startPlan = async function (...args) {
  const vms = await startPlan.apply(this, args)
  await Promise.all(vms.map(async (vm) => vm.restore(await vm.snapshot())))
  return vms
}
