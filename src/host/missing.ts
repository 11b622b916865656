import { InfrastructureError } from '../errors.ts'

/** The error for a program that the host does not have. */
export function missing(file: string): InfrastructureError {
  return new InfrastructureError(`${file} is not installed on this machine`, {
    command: file,
    hint: file.includes('/')
      ? 'is the path right?'
      : `on Debian: apt-get install ${packageOf(file)}`,
  })
}

/** Debian's names, where they are not the program's. */
const PACKAGES: Record<string, string> = {
  chmod: 'coreutils',
  cp: 'coreutils',
  df: 'coreutils',
  du: 'coreutils',
  head: 'coreutils',
  mkfifo: 'coreutils',
  mktemp: 'coreutils',
  mv: 'coreutils',
  od: 'coreutils',
  readlink: 'coreutils',
  stat: 'coreutils',
  test: 'coreutils',
  touch: 'coreutils',
  truncate: 'coreutils',
  'dpdk-testpmd': 'dpdk-dev',
  'qemu-img': 'qemu-utils',
  'qemu-system-aarch64': 'qemu-system-arm',
  'qemu-system-x86_64': 'qemu-system-x86',
  flock: 'util-linux',
  ip: 'iproute2',
  setpriv: 'util-linux',
  taskset: 'util-linux',
  unshare: 'util-linux',
}

function packageOf(file: string): string {
  return PACKAGES[file] ?? file
}
