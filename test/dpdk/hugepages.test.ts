import { readFile } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { reserveHugepages, testpmd } from '../../src/dpdk/index.ts'
import { InfrastructureError, UsageError } from '../../src/errors.ts'
import type { Dut } from '../../src/fleet/dut.ts'
import { localHost } from '../../src/host/local.ts'
import { hostDut } from '../support/host-dut.ts'
import { usePagesTurn } from '../support/pages-turn.ts'
import { withScope } from '../support/with-scope.ts'

const FOLDER = '/sys/kernel/mm/hugepages/hugepages-2048kB'
const number = async (name: string) => Number(await readFile(`${FOLDER}/${name}`, 'utf8'))
const pages = () => number('nr_hugepages')

usePagesTurn()
let dut: Dut
let before: number
beforeEach(async () => {
  dut = hostDut()
  before = await pages()
})
afterEach(async () => {
  await dut.close()
  await expect.poll(pages).toBe(before)
})

test('are there, free, and given back', async () => {
  const reserved = await reserveHugepages(dut, 8)
  expect(reserved).toMatchObject({ pages: 8, size: '2M', total: before + 8 })
  expect(await pages()).toBe(before + 8)
  expect(reserved.free).toBeGreaterThanOrEqual(8)
  await reserved.restore()
  expect(await pages()).toBe(before)
  await reserved.restore()
  expect(await pages()).toBe(before)
})

test('two reservations add up, also when they are made at once', async () => {
  const [one, two] = await Promise.all([reserveHugepages(dut, 3), reserveHugepages(dut, 4)])
  expect(await pages()).toBe(before + 7)
  await one.restore()
  expect(await pages()).toBe(before + 4)
  await two.restore()
  expect(await pages()).toBe(before)
})

test('go back with the test that asked', async () => {
  await withScope(new AbortController().signal, async () => {
    await reserveHugepages(dut, 3)
    expect(await pages()).toBe(before + 3)
  })
  expect(await pages()).toBe(before)
})

test('go back with the DUT', async () => {
  await reserveHugepages(dut, 3)
  await dut.close()
  await expect.poll(pages).toBe(before)
})

test('go back when the process that asked is killed', async () => {
  const index = new URL('../../src/dpdk/index.ts', import.meta.url).pathname
  const helper = new URL('../support/host-dut.ts', import.meta.url).pathname
  const script = `
    const { reserveHugepages } = await import(${JSON.stringify(index)})
    const { hostDut } = await import(${JSON.stringify(helper)})
    await reserveHugepages(hostDut(), 5)
    console.log('reserved', (await import('node:fs')).readFileSync('${FOLDER}/nr_hugepages', 'utf8'))
    process.kill(process.pid, 'SIGKILL')`
  const killed = await localHost().run(process.execPath, ['--input-type=module', '-e', script])
  expect(killed.stdout).toContain(`reserved ${before + 5}`)
  expect(killed.signal).toBe('SIGKILL')
  await expect.poll(pages).toBe(before)
})

test('more than there is memory for is an error, and nothing is taken', async () => {
  const error = await reserveHugepages(dut, 1 << 24).catch((reason) => reason)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toMatch(/16777216 huge pages of 2M were asked for, the kernel gave 0/)
  expect(error.hint).toMatch(/\d+[KMG] of memory were available/)
  expect(await pages()).toBe(before)
})

test.skipIf(process.getuid?.() !== 0)(
  'a user who is not root is told, with the line to type',
  async () => {
    const place = (path: string) => JSON.stringify(new URL(path, import.meta.url).pathname)
    const script = `
    const { reserveHugepages } = await import(${place('../../src/dpdk/index.ts')})
    const { hostDut } = await import(${place('../support/host-dut.ts')})
    console.log((await reserveHugepages(hostDut(), 5).catch((error) => error)).message)`
    const node = [process.execPath, '--input-type=module', '-e', script]
    const { stdout } = await localHost().run('setpriv', [
      ...['--reuid', '65534', '--regid', '65534', '--clear-groups', '--', ...node],
    ])
    expect(stdout).toBe(
      'dut0: 5 huge pages of 2M cannot be added: only root may, outside of a container\n' +
        `→ as root on this machine: echo ${before + 5} >${FOLDER}/nr_hugepages\n`,
    )
  },
)

test('a node that is not there', async () => {
  const error = await reserveHugepages(dut, 1, { node: 1000 }).catch((reason) => reason)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toMatch(/on node 1000.*node1000/s)
})

test('a node can be named', async () => {
  await using reserved = await reserveHugepages(dut, 2, { node: 0 })
  expect(reserved.pages).toBe(2)
  expect(await pages()).toBe(before + 2)
})

test.each<[number, object, string]>([
  [0, {}, 'pages'],
  [1.5, {}, 'pages'],
  [1, { size: '4M' }, `'2M' or '1G'`],
  [1, { numa: 0 }, 'unknown option "numa"'],
  [1, { node: -1 }, 'node'],
])('reserveHugepages(%d, %j) is refused', async (count, options, message) => {
  const asked = () => reserveHugepages(dut, count, options)
  await expect(asked()).rejects.toThrow(UsageError)
  await expect(asked()).rejects.toThrow(message)
})

test('testpmd runs in them and leaves none behind', async () => {
  await using _reserved = await reserveHugepages(dut, 20)
  const free = await number('free_hugepages')
  const options = { vdevs: ['net_null0'], hugepages: true, memory: 32 }
  const pmd = await testpmd(dut, options)
  expect(await number('free_hugepages')).toBeLessThan(free)
  await dut.exec(`pkill -KILL -f -- --file-prefix=${pmd.filePrefix}`)
  await pmd.program.exited
  await expect.poll(() => number('free_hugepages')).toBe(free)
})
