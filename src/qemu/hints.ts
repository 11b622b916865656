/** About a QEMU that says nothing. */
export const MUTE_HINT = 'its main loop is stuck, or the machine is too busy'

/** What to do about what QEMU says when it refuses; QEMU 7.2's own words. */
const HINTS: readonly [RegExp, string][] = [
  [
    /unable to map backing store|failed to resize memfd|hugetlb/i,
    'reserve pages of that size first, e.g. reserveHugepages(dut, 512), or leave hugepages out',
  ],
  [
    /Could not set up host forwarding rule/,
    'a program outside of this package took the port meanwhile; start again',
  ],
  [
    /Failed to connect|Connection refused|No such file or directory.*socket/i,
    'start the backend first: the backend option of dutTest runs before the VMs',
  ],
  [
    /QEMU waiting for connection on/,
    'with server: true, QEMU waits for the backend: start it first, as the client of that socket, in ' +
      'the backend option of dutTest; or leave server out, and QEMU is the client',
  ],
  [
    /configure \/dev\/net\/tun.*Operation not permitted/,
    'a tap needs CAP_NET_ADMIN: be root, or have root make one that is yours and name it: ' +
      `ip tuntap add dev NAME mode tap user YOU && ip link set NAME up, then tap({ name: 'NAME' })`,
  ],
  [/configure \/dev\/net\/tun.*busy/, 'another QEMU has that tap: each NIC needs one of its own'],
  [
    /configure \/dev\/net\/tun.*Invalid argument/,
    'that interface is not a tap, or it is one with multi_queue: ip -details link shows which',
  ],
  [/open \/dev\/net\/tun: No such file/, 'load the module: modprobe tun'],
  [
    /vfio.*failed to open \/dev\/vfio\/.*busy/,
    'another program has a device of that IOMMU group open',
  ],
  [/Failed to get .* lock/, 'another QEMU has the image open'],
  [/Permission denied/, 'is this user allowed to open it? For KVM: the group kvm'],
  [/not a valid device model name|Property .* not found/, 'its -device help lists what it has'],
]

/** The next step for one of QEMU's complaints, where it is known. */
export function hintFor(complaints: readonly string[]): string | undefined {
  const text = complaints.join('\n')
  return HINTS.find(([pattern]) => pattern.test(text))?.[1]
}
