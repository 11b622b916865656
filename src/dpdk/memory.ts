import { UsageError } from '../errors.ts'

/** Descriptors of a queue where nobody says: as many as virtio has at most, and other NICs by default. */
const NIC_RING = 1024
const VDEV_RING = 256
/** Buffers beside those that wait in queues: the cores' caches, and bursts under way. */
const SPARE = 2048
const FEWEST = 4096
const BUFFER_BYTES = 2176
/** Bytes of an mbuf beside its buffer, and of the pool for it. */
const HEAD_BYTES = 256
/** MiB for all that is no buffer. */
const OTHER_MIB = 24
const MIB = 1 << 20

/** How many NICs there are, and the shortest receive ring that one of them can have. */
export interface NicFacts {
  count: number
  ring?: number
}

interface Sized {
  vdevs: readonly string[]
  args: readonly string[]
  mbufs?: number
  memory?: number
  /** MiB where `memory` does not say. */
  leastMemory: number
}

/**
 * Packet buffers, and MiB of memory that have room for them. Each queue keeps as many buffers as its
 * ring has descriptors: with fewer in all, some queue has none, and receives nothing without a word.
 *
 * @throws UsageError where `mbufs` are fewer than the receive rings take
 */
export function sizesFor(
  { vdevs, args, mbufs, memory, leastMemory }: Sized,
  nics: NicFacts,
): { mbufs: number; memory: number } {
  const rxq = numberIn(args, 'rxq') ?? 1
  const txq = numberIn(args, 'txq') ?? 1
  const rxd = numberIn(args, 'rxd')
  const txd = numberIn(args, 'txd')
  const ring = rxd ?? nics.ring
  const taken = ring === undefined || !Number.isFinite(ring) ? 0 : nics.count * rxq * ring
  if (mbufs !== undefined && mbufs < taken) {
    throw new UsageError(
      `testpmd: mbufs: ${mbufs} are too few, the receive queues alone take ${taken}: ` +
        `${rxq} of ${ring} descriptors for ${nics.count === 1 ? 'a NIC' : `each of ${nics.count} NICs`}`,
      {
        hint: 'leave mbufs out, which gives enough; or fewer queues (--rxq), or shorter ones (--rxd)',
      },
    )
  }
  const waiting = (count: number, size: number) =>
    count * (rxq * (rxd || size) + txq * (txd || size))
  const wanted = SPARE + waiting(nics.count, NIC_RING) + waiting(vdevs.length, VDEV_RING)
  const buffers = mbufs ?? Math.max(FEWEST, wanted)
  const bytes = buffers * ((numberIn(args, 'mbuf-size') ?? BUFFER_BYTES) + HEAD_BYTES)
  const room = OTHER_MIB + Math.ceil(bytes / MIB)
  return {
    mbufs: buffers,
    memory: memory ?? (mbufs === undefined ? Math.max(leastMemory, room) : leastMemory),
  }
}

/** The value of `--NAME=VALUE` or `--NAME VALUE`. */
function numberIn(args: readonly string[], name: string): number | undefined {
  const text = args
    .map((arg, i) => (arg === `--${name}` ? args[i + 1] : arg.split(`--${name}=`)[1]))
    .findLast((value) => value !== undefined)
  const value = Number.parseInt(text ?? '', 10)
  return Number.isNaN(value) ? undefined : value
}
