import { expect, test } from 'vitest'
import { sizesFor } from '../../src/dpdk/memory.ts'
import { UsageError } from '../../src/errors.ts'

const BASE = { vdevs: [], args: [], leastMemory: 64 }
const NIC = { count: 1 }

test('one NIC with one queue has 4096 buffers', () => {
  expect(sizesFor(BASE, NIC)).toEqual({ mbufs: 4096, memory: 64 })
})

test.each<[string, string[], number, number]>([
  ['8 queues', ['--rxq=8', '--txq=8'], 1, 2048 + 16 * 1024],
  ['8 queues, given in two words', ['--rxq', '8', '--txq', '8'], 1, 2048 + 16 * 1024],
  ['queues named twice', ['--rxq=2', '--rxq=8', '--txq=8'], 1, 2048 + 16 * 1024],
  ['long rings', ['--rxd=4096', '--txd=2048'], 1, 2048 + 6144],
  ['short rings', ['--rxq=8', '--txq=8', '--rxd=128', '--txd=128'], 1, 4096],
  ['rings of 0, which are the driver’s', ['--rxq=2', '--rxd=0'], 1, 2048 + 3 * 1024],
  ['four NICs', [], 4, 2048 + 8 * 1024],
])('buffers follow from queues and rings: %s', (_, args, count, mbufs) => {
  expect(sizesFor({ ...BASE, args }, { count }).mbufs).toBe(mbufs)
})

test('software devices have shorter rings', () => {
  const vdevs = ['net_virtio_user0', 'net_virtio_user1']
  expect(sizesFor({ ...BASE, vdevs }, { count: 0 }).mbufs).toBe(4096)
  expect(sizesFor({ ...BASE, vdevs, args: ['--rxq=8', '--txq=8'] }, { count: 0 }).mbufs).toBe(
    2048 + 2 * 16 * 256,
  )
})

test('memory has room for the buffers, and is what was asked for where it was', () => {
  const args = ['--rxq=8', '--txq=8']
  const { mbufs, memory } = sizesFor({ ...BASE, args }, NIC)
  expect(memory * 2 ** 20).toBeGreaterThan(mbufs * 2432)
  const large = sizesFor({ ...BASE, args: [...args, '--mbuf-size=9728'] }, NIC)
  expect(large.memory).toBeGreaterThan(2.5 * memory)
  expect(sizesFor({ ...BASE, args, memory: 32 }, NIC).memory).toBe(32)
  expect(sizesFor({ ...BASE, args, mbufs: 20_000 }, NIC)).toEqual({ mbufs: 20_000, memory: 64 })
})

test('fewer buffers than the receive rings take are refused by name', () => {
  const asked = { ...BASE, mbufs: 4096, args: ['--rxq=8'] }
  const refused = () => sizesFor(asked, { count: 1, ring: 1024 })
  expect(refused).toThrow(UsageError)
  expect(refused).toThrow(/mbufs: 4096 are too few.* take 8192: 8 of 1024 descriptors/)
  expect(refused).toThrow(/leave mbufs out/)
  expect(() => sizesFor({ ...asked, args: ['--rxd=2048'] }, { count: 3 })).toThrow(
    '1 of 2048 descriptors for each of 3 NICs',
  )
  // The ring's length is unknown, or leaves room.
  expect(sizesFor(asked, NIC).mbufs).toBe(4096)
  expect(sizesFor(asked, { count: 1, ring: 256 }).mbufs).toBe(4096)
})
