import { expect, test } from 'vitest'
import {
  hasFiles,
  resolveTestpmd,
  type TestpmdOptions,
  testpmdCommand,
} from '../../src/dpdk/options.ts'
import { UsageError } from '../../src/errors.ts'

function command(options: TestpmdOptions, where: 'vm' | 'dut' = 'dut', cpus = '0-3'): string {
  return testpmdCommand(resolveTestpmd(options, where), cpus).join(' ')
}

test('a guest without options: all NICs that are bound, in huge pages', () => {
  expect(command({ filePrefix: 'p' }, 'vm', '0')).toBe(
    'dpdk-testpmd --lcores 0@(0),1@(0) --no-telemetry --file-prefix=p --in-memory' +
      ' -- -i --nb-cores=1 --total-num-mbufs=4096 --no-mlockall',
  )
})

test('a DUT with software devices: no NIC, no huge page, nothing shared', () => {
  expect(command({ vdevs: ['net_null0', 'net_null1,size=128'], filePrefix: 'p' })).toBe(
    'dpdk-testpmd --lcores 0@(0-3),1@(0-3) --no-telemetry --file-prefix=p --no-huge -m 128' +
      ' --no-shconf --no-pci --vdev net_null0 --vdev net_null1,size=128' +
      ' -- -i --nb-cores=1 --total-num-mbufs=4096 --no-mlockall',
  )
})

test('NICs by address need huge pages; software devices in a guest do not', () => {
  expect(command({ ports: ['0000:03:00.0', '0000:03:00.1'] })).toMatch(
    /--in-memory -a 0000:03:00.0 -a 0000:03:00.1 -- /,
  )
  expect(command({ vdevs: ['net_null0'] }, 'vm')).toMatch(/ --no-huge -m 64 .*--no-pci/)
  expect(command({ vdevs: ['net_null0'], hugepages: true })).toMatch(/--in-memory --no-pci/)
})

test('a DPDK program that is to be joined has files', () => {
  expect(command({ inMemory: false }, 'vm')).not.toContain('--in-memory')
  expect(command({ inMemory: false }, 'vm')).not.toContain('--no-huge')
  expect(command({ vdevs: ['net_null0'], hugepages: true, inMemory: false })).toMatch(
    /--file-prefix=\S+ --no-pci --vdev/,
  )
  expect(hasFiles({})).toBe(false)
  expect(hasFiles({ filePrefix: 'p1' })).toBe(true)
  expect(hasFiles({ eal: ['--legacy-mem'] })).toBe(true)
  expect(hasFiles({ eal: ['--huge-dir=/x'] })).toBe(true)
  expect(hasFiles({ eal: ['--log-level=8'] })).toBe(false)
})

test('as many buffers as the NICs’ queues can hold', () => {
  expect(command({ args: ['--rxq=8', '--txq=8'] }, 'vm')).toContain('--total-num-mbufs=18432')
  const resolved = resolveTestpmd({ args: ['--rxq=2'] }, 'vm')
  expect(testpmdCommand(resolved, '0', { count: 3 })).toContain('--total-num-mbufs=11264')
})

test('everything else finds its place', () => {
  const line = command({
    ...{
      vdevs: ['net_null0'],
      cores: 3,
      memory: 256,
      mbufs: 9000,
      nice: 7,
      program: '/opt/testpmd',
    },
    ...{ eal: ['--log-level=8'], args: ['--txq=2'] },
  })
  expect(line).toMatch(
    /nice -n \$0 "\$@" 7 \/opt\/testpmd --lcores 0@\(0-3\),1@\(0-3\),2@\(0-3\),3@\(0-3\) /,
  )
  expect(line).toMatch(/ -m 256 /)
  expect(line).toMatch(
    / --log-level=8 -- -i --nb-cores=3 --total-num-mbufs=9000 --no-mlockall --txq=2$/,
  )
  expect(command({ vdevs: ['net_null0'], lcores: '0@0,1@1' })).toContain('--lcores 0@0,1@1 ')
})

test('no two have a file prefix in common', () => {
  const prefix = () => resolveTestpmd({ vdevs: ['net_null0'] }, 'dut').filePrefix
  expect(prefix()).not.toBe(prefix())
})

test.each<[string, object, string]>([
  ['a misspelt key', { vdev: ['net_null0'] }, 'did you mean "vdevs"?'],
  ['no port at all', {}, 'it is given no port'],
  ['a string for a list', { vdevs: 'net_null0' }, 'vdevs is not a list'],
  ['an empty argument', { vdevs: ['net_null0'], eal: [''] }, 'eal is not a list'],
  ['a PCI address without its domain', { ports: ['03:00.0'] }, `ports: ['0000:00:03.0']`],
  ['a number of a port', { ports: [0] }, 'are not PCI addresses'],
  ['an unknown word', { vdevs: ['net_null0'], hugepages: 'yes' }, `true, false or 'auto'`],
  ['a prefix with a slash', { vdevs: ['net_null0'], filePrefix: '../x' }, 'cannot be used'],
  ['no core', { vdevs: ['net_null0'], cores: 0 }, 'cores'],
  ['memory with a unit', { vdevs: ['net_null0'], memory: '64M' }, 'memory'],
  [
    'a socket whose path DPDK would cut',
    { vdevs: [`net_vhost0,iface=/tmp/${'x'.repeat(103)},queues=1`] },
    'iface has 108 bytes: /tmp/x',
  ],
  [
    'another one, which is short in characters and long in bytes',
    { vdevs: ['net_null0', `virtio_user0,path=/tmp/${'ü'.repeat(60)}`] },
    'path has 125 bytes',
  ],
  ['a word for a flag', { vdevs: ['net_null0'], inMemory: 'no' }, 'neither true nor false'],
  ['a negative niceness', { vdevs: ['net_null0'], nice: -1 }, 'nice'],
])('%s is refused', (_, options, message) => {
  const resolve = () => resolveTestpmd(options as TestpmdOptions, 'dut')
  expect(resolve).toThrow(UsageError)
  expect(resolve).toThrow(message)
})
