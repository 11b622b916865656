/** A processor that the built-in guest is built for. */
export interface Arch {
  /** Debian's name of it. */
  name: 'amd64' | 'arm64'
  /** Compiles the agent. */
  compiler: string
  /** Debian packages with that compiler and the static C library that it links. */
  compilerPackages: { compiler: string; libc: string }
  /**
   * Whether the host can run what is in the guest. Where it cannot, packages are unpacked and not
   * installed, for their maintainer scripts are the guest's programs.
   */
  native: boolean
  /** See {@link appendOf}. */
  append: string
}

/*
 * What a throw-away machine does not need is left out, which is a fifth of the boot under emulation:
 * self-tests of ciphers, a random address for the kernel, defences against hardware faults, security
 * modules.
 */
const QUICK = 'cryptomgr.notests nokaslr mitigations=off init_on_alloc=0 lsm= audit=0'

/** Stage markers and warnings reach the serial console: loglevel 6 costs no more than `quiet`. */
const SHOW = 'loglevel=6 panic=-1'

export const ARCHS: Record<Arch['name'], Arch> = {
  amd64: {
    name: 'amd64',
    compiler: 'gcc',
    compilerPackages: { compiler: 'gcc', libc: 'libc6-dev' },
    native: true,
    // On a busy host the clock's watchdog takes the emulated TSC for a broken one.
    append: `console=ttyS0 ${SHOW} ${QUICK} tsc=reliable no_timer_check`,
  },
  arm64: {
    name: 'arm64',
    compiler: 'aarch64-linux-gnu-gcc',
    compilerPackages: { compiler: 'gcc-aarch64-linux-gnu', libc: 'libc6-dev-arm64-cross' },
    native: false,
    append: `console=ttyAMA0 ${SHOW} ${QUICK}`,
  },
}

export type ArchName = Arch['name']

/** What the guest wants on its kernel command line; add `dut.hostname=NAME`. */
export function appendOf(arch: ArchName): string {
  return ARCHS[arch].append
}
