import { type MachineShape, qemuArgs } from '../../src/qemu/args.ts'

/** A shape with everything at its simplest, but for what is given. */
export function shapeWith(given: Partial<MachineShape> = {}): MachineShape {
  return {
    name: 'vm0',
    qemu: 'qemu-system-x86_64',
    machine: 'q35',
    accel: 'tcg',
    cpu: { count: 1 },
    memory: { size: '512M', shared: false, hugepages: false },
    boot: { kernel: '/g/vmlinuz', initrd: '/g/initrd', append: 'quiet', root: '/g/root' },
    sockets: { qmp: '/s/qmp', kernelLog: '/s/klog', agent: '/s/agent' },
    devices: [],
    disks: [],
    extraArgs: [],
    ...given,
  }
}

/** The values of an option, in order. */
export function valuesOf(option: string, given: Partial<MachineShape> = {}): string[] {
  const args = qemuArgs(shapeWith(given))
  return args.flatMap((arg, i) => (arg === option ? [args[i + 1] ?? ''] : []))
}
