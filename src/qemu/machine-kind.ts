import { UsageError } from '../errors.ts'
import { ARCHS, type Arch } from '../image/arch.ts'
import type { Property } from './devices.ts'

/** What a type of machine decides: QEMU's arguments, and what its VMs can do. */
export interface MachineKind {
  arch: Arch
  /** QEMU's `-cpu` under TCG where none is given. */
  cpu: string
  /** Has a power button that the guest's kernel hears of. */
  button: boolean
  /** The device by which a kernel tells QEMU that it has panicked (https://www.qemu.org/docs/master/specs/pvpanic.html). */
  panic?: 'pvpanic' | 'pvpanic-pci'
  /**
   * `'kvm'`: it has no timer but the PIT. Under TCG on a busy host the guest's kernel cannot tell how
   * fast its time stamp counter is by that, and hangs; under KVM it is told.
   */
  clock?: 'kvm'
  /** Properties of the machine that our devices need. */
  properties?: readonly string[]
  /** QEMU's arguments for the ports into which devices are plugged. */
  ports: readonly string[]
  /** Where the device of a number goes; undefined on machines to which no device can come later. */
  port?(number: number): Record<string, Property>
}

/** How many devices can be plugged into a running machine. */
export const SLOTS = 8

// All in one place, so that there is room for what users give an addr of their own; and the first, for
// the guest numbers its NICs in that order.
const ROOT_PORTS_AT = 1
// The last, for QEMU gives those without an addr the first that is free.
const PCI_SLOTS_AT = 0x10

/** PCI Express needs a free port for each device. */
const ROOT_PORTS: Pick<MachineKind, 'ports' | 'port'> = {
  ports: Array.from({ length: SLOTS }, (_, i) => {
    const at = `addr=${ROOT_PORTS_AT}.${i}${i === 0 ? ',multifunction=on' : ''}`
    return ['-device', `pcie-root-port,id=slot${i},chassis=${i + 1},slot=${i + 1},${at}`]
  }).flat(),
  port: (number) => ({ bus: `slot${number}` }),
}

/** On plain PCI each place of the bus can be plugged into. */
const PCI_SLOTS: Pick<MachineKind, 'ports' | 'port'> = {
  ports: [],
  port: (number) => ({ bus: 'pci.0', addr: `0x${(PCI_SLOTS_AT + number).toString(16)}` }),
}

// DPDK in Debian needs SSE4.2, which QEMU's default model does not have.
const X86 = { arch: ARCHS.amd64, cpu: 'max', button: true }

/** By what its type begins with, the rest being a version and properties. */
const KINDS: [RegExp, MachineKind][] = [
  [/^(pc-)?q35\b/, { ...X86, panic: 'pvpanic', ...ROOT_PORTS }],
  [/^pc(-i440fx)?(-[\d.]+)?(,|$)/, { ...X86, panic: 'pvpanic', ...PCI_SLOTS }],
  // Without PCI Express its devices are virtio-mmio, which Debian's kernel finds by ACPI only, and
  // DPDK not at all.
  [/^microvm(,|$)/, { ...X86, properties: ['pcie=on'], clock: 'kvm', ports: [] }],
  [
    /^virt(-[\d.]+)?(,|$)/,
    {
      ...{ arch: ARCHS.arm64, cpu: 'cortex-a72', button: false, panic: 'pvpanic-pci' },
      ...ROOT_PORTS,
    },
  ],
]

/** Of a type that is not known here: it may run, and nothing is plugged into it. */
const OTHER: MachineKind = { ...X86, ports: [] }

export function machineKind(machine: string): MachineKind {
  return KINDS.find(([type]) => type.test(machine))?.[1] ?? OTHER
}

/** Whether devices can be plugged into a machine of that type. */
export function hasSlots(machine: string): boolean {
  return machineKind(machine).port !== undefined
}

/** The value of QEMU's `-machine`. */
export function machineOption(machine: string): string {
  const { properties = [] } = machineKind(machine)
  return [machine, ...properties, 'memory-backend=ram'].join(',')
}

const EMULATORS = { amd64: 'qemu-system-x86_64', arm64: 'qemu-system-aarch64' }
const MACHINES = { amd64: 'q35', arm64: 'virt' }

/**
 * The machine and the emulator of a VM: each of them says what the other is by default.
 *
 * @throws UsageError where they do not fit together, or the machine would lack what our devices need
 */
export function resolveMachine(
  name: string,
  { machine: wanted, qemu: given }: { machine?: string; qemu?: string },
): { machine: string; qemu: string } {
  const emulates = given === undefined ? undefined : archOfEmulator(name, given)
  const machine = wanted ?? MACHINES[emulates ?? 'amd64']
  const arch = machineKind(machine).arch.name
  const qemu = given ?? EMULATORS[arch]
  if (emulates !== undefined && emulates !== arch) {
    throw new UsageError(`${name}: ${qemu} has no machine of type ${machine} that we know`, {
      hint: `write machine: '${MACHINES[emulates]}', or leave one of machine and qemu out`,
    })
  }
  const off = /^microvm,(?:.*,)?((?:pcie|acpi)=off)/.exec(machine)?.[1]
  if (off !== undefined) {
    throw new UsageError(`${name}: machine: a microvm with ${off} has no PCI for its devices`, {
      hint: `leave ${off} out: pcie=on is added, which the guest needs`,
    })
  }
  return { machine, qemu }
}

/** @throws UsageError where a machine of that type does not run that way */
export function checkMachineAccel(
  { name, machine, guest }: { name: string; machine: string; guest: unknown },
  accel: 'kvm' | 'tcg',
): void {
  if (accel === 'kvm' || guest !== 'default' || machineKind(machine).clock !== 'kvm') return
  throw new UsageError(
    `${name}: the default guest does not run on a ${machine} without KVM: its kernel finds no clock there`,
    { hint: `leave machine out: under TCG a q35 boots as fast` },
  )
}

/**
 * Of a program by a name of its own nothing is known.
 *
 * @throws UsageError for an emulator of another processor, which neither guest nor agent is built for
 */
function archOfEmulator(name: string, qemu: string): Arch['name'] | undefined {
  const [, processor] = /(?:^|\/)qemu-system-(\w+)$/.exec(qemu) ?? []
  if (processor === undefined) return undefined
  if (processor === 'aarch64') return 'arm64'
  if (processor === 'x86_64') return 'amd64'
  throw new UsageError(`${name}: ${qemu} emulates a ${processor}, which VMs cannot be here`, {
    hint: Object.values(EMULATORS).join(' or '),
  })
}
