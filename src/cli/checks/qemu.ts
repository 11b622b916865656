import { missing as notInstalled } from '../../host/missing.ts'
import { chooseAccel } from '../../qemu/accel.ts'
import { asRoot, type Check, degraded, failure, type Machine, missing, ok } from './check.ts'

const QEMU = 'qemu-system-x86_64'
const KVM = '/dev/kvm'

export const qemu: Check = {
  name: 'qemu',
  look: async (machine) => {
    const { host } = machine
    const path = await host.findProgram(QEMU)
    if (path === undefined) return failure(machine, notInstalled(QEMU))
    const { stdout, stderr } = await host.run(path, ['--version'])
    const [, version, major, minor] = /version ((\d+)\.(\d+)\S*)/.exec(stdout) ?? []
    if (version === undefined) return missing(`${path} does not run: ${stderr.trim()}`)
    const detail = `${version} (${path})`
    // Links are made of the netdev `dgram`, which came with 7.2.
    const enough = Number(major) > 7 || (Number(major) === 7 && Number(minor) >= 2)
    return enough ? ok(detail) : degraded(`${detail}: link() needs 7.2 or newer`)
  },
}

export const acceleration: Check = {
  name: 'acceleration',
  look: async (machine) => {
    const { accel, text } = await choose(machine)
    return accel === 'kvm' ? ok(text) : degraded(text, (await kvmDevice.look(machine)).fix)
  },
}

export const kvmDevice: Check = {
  name: 'kvm device',
  look: async (machine) => {
    const facts = await machine.host.fileFacts(KVM)
    if (facts === undefined) return degraded(`there is no ${KVM}`, await moduleLine(machine))
    if (facts.readable && facts.writable) return ok(`${KVM} can be used`)
    const { line } = await choose(machine)
    return degraded(`no permission to use ${KVM}; after the fix, log in again`, line)
  },
}

/** What VMs run with, why, and the line to type where the reason has one in it. */
async function choose({ host }: Machine) {
  const { accel, reason } = await chooseAccel({ host, qemu: QEMU, wanted: 'auto' })
  const [, text, line] = /^(.*); type: (.*?) {2}\(and log in again\)/.exec(reason) ?? []
  return { accel, text: text ?? reason.replace(/\.$/, ''), line }
}

/** The line that brings KVM where the CPU shows that it could have it. */
async function moduleLine(machine: Machine): Promise<string | undefined> {
  const cpu = Buffer.from(await machine.host.readFile('/proc/cpuinfo')).toString()
  const flag = /^flags\s*:.*\b(vmx|svm)\b/m.exec(cpu)?.[1]
  if (flag === undefined) return undefined
  return asRoot(machine, `modprobe ${flag === 'vmx' ? 'kvm_intel' : 'kvm_amd'}`)
}
