import { parseSize, type Size } from '../units.ts'
import { optionValue } from './option-value.ts'

/** What a machine's memory is like. Paths are the DUT's. */
export interface MemoryShape {
  size: Size
  shared: boolean
  hugepages: false | true | '2M' | '1G'
  node?: number
  /** A file that it is: `share` writes into it, otherwise it is only where the memory begins with. */
  file?: { path: string; share: boolean }
}

/** Pages of 4 KiB whose marks are one word of QEMU's. */
const WORD_OF_PAGES = 64 * 4096
/** What QEMU rounds the size of a memory to. */
const QEMU_ROUNDS_TO = 8192

/** Guest memory gives its pages back by itself: a memfd has no name that could stay behind. */
export function memoryArgs(memory: MemoryShape, accel: 'kvm' | 'tcg'): string[] {
  const { shared, hugepages, node, file } = memory
  const bytes = bytesOf(memory, accel)
  const placement = node === undefined ? '' : `,host-nodes=${node},policy=bind`
  const pages = hugepages === false ? '' : `,hugetlb=on,prealloc=on${pageSize(hugepages)}`
  const size = ['-m', bytes % 2 ** 20 === 0 ? `${bytes / 2 ** 20}M` : `${bytes / 2 ** 10}K`]
  if (file) {
    const path = `mem-path=${optionValue(file.path)},share=${file.share ? 'on' : 'off'}`
    return [...size, '-object', `memory-backend-file,id=ram,size=${bytes},${path}${placement}`]
  }
  const backend =
    shared || hugepages !== false
      ? `memory-backend-memfd,id=ram,size=${bytes},share=on${pages}${placement}`
      : `memory-backend-ram,id=ram,size=${bytes}${placement}`
  return [...size, '-object', backend]
}

/**
 * Whether all that such a guest writes while it is migrated goes along.
 *
 * Under TCG, QEMU before 9.0 (Debian's 7.2 too) collects the marks of written pages a word at a time
 * where a memory is a whole number of words, and forgets to have its CPUs mark those pages again when
 * they are written to again. What a guest writes that polls, and so keeps its TLB, is lost: rings of a
 * NIC, or the kernel's own data. It does not forget it where it goes page by page, as it does for any
 * other size. QEMU's commit 03bfc2188f061aa8381403f9280555f4e22c35a2: "physmem: Fix migration dirty
 * bitmap coherency with TCG memory access".
 */
export function goesAlong({ hugepages }: Pick<MemoryShape, 'hugepages'>, accel: 'kvm' | 'tcg') {
  // Huge pages are whole ones.
  return accel === 'kvm' || hugepages === false
}

/** A little less than was asked for where QEMU would lose writes otherwise: see {@link goesAlong}. */
function bytesOf({ size, hugepages }: MemoryShape, accel: 'kvm' | 'tcg'): number {
  const bytes = parseSize(size, 'memory')
  const isWhole = accel === 'tcg' && hugepages === false && bytes % WORD_OF_PAGES === 0
  return isWhole ? bytes - QEMU_ROUNDS_TO : bytes
}

function pageSize(hugepages: true | '2M' | '1G'): string {
  return hugepages === true ? '' : `,hugetlbsize=${hugepages}`
}
