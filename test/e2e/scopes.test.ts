// Whatever is started lives as long as the fixture, hook or test that started it.
import { aroundAll, describe } from 'vitest'
import { type Dut, dutTest, expect, type Program, type Vm } from 'vitest-dut'
import { reserveHugepages, testpmd } from 'vitest-dut/dpdk'

const T = { timeout: 120_000 }
const base = dutTest({ vms: 1, vm: { memory: '512M' } })

const spawnCat = (dut: Dut) => dut.spawn('cat')
const lives = ({ console }: Program) => !console.life.ended.aborted
const pagesOf = async (vm: Vm) => Number((await vm.exec('cat /proc/sys/vm/nr_hugepages')).stdout)

const said: string[] = []
aroundAll(async (runSuite) => {
  await runSuite()
  expect(said).toEqual(['the VM still answers'])
})

const pids: number[] = []
base.beforeAll(({ vm }) => void pids.push(vm.pid))

const test = base
  .extend('onHost', { scope: 'file' }, ({ dut, vm }, { onCleanup }) => {
    onCleanup(async () => {
      said.push((await vm.exec('echo -n the VM still answers')).stdout)
    })
    return spawnCat(dut)
  })
  .extend('peer', { scope: 'file' }, ({ dut }) => dut.start({ name: 'peer', memory: '256M' }))
  .extend('lease', { scope: 'file' }, ({ dut }) => dut.lease('name', `scopes-${process.pid}`))
  .extend('session', { scope: 'file' }, ({ vm }) => vm.session())
  .extend('shell', { scope: 'file' }, ({ vm }) => vm.spawn('bash --norc', { prompt: /[$#] / }))
  .extend('hugepages', { scope: 'file' }, ({ vm }) => reserveHugepages(vm, 8))
  .extend('pmd', { scope: 'file' }, ({ vm }) =>
    testpmd(vm, { vdevs: ['net_null0'], hugepages: false }),
  )
  .extend('snapshot', { scope: 'file' }, ({ peer }) => peer.snapshot())
  .extend('own', ({ dut }) => spawnCat(dut))

const before: { peer?: Vm; own?: Program } = {}

describe('what a fixture of the file started', () => {
  for (const n of [1, 2]) {
    test(`VMs, snapshots and leases, for test ${n}`, T, async ({ vm, peer, snapshot, lease }) => {
      expect(pids).toEqual([vm.pid])
      await peer.restore(snapshot)
      await peer.exec('true', { check: true })
      expect(lease.holding).toBeDefined()
      before.peer ??= peer
      expect(peer).toBe(before.peer)
    })

    test(`sessions and programs, for test ${n}`, T, async ({ session, shell, onHost, own }) => {
      expect((await session.cmd('echo session')).output).toBe('session\n')
      expect((await shell.cmd('echo shell')).output).toContain('shell')
      expect([lives(onHost), lives(own)]).toEqual([true, true])
      if (before.own)
        expect([before.own.console === own.console, lives(before.own)]).toEqual([false, false])
      before.own = own
    })

    test(`huge pages and testpmds, for test ${n}`, T, async ({ vm, hugepages, pmd }) => {
      expect(await pagesOf(vm)).toBe(hugepages.total)
      expect((await pmd.portInfo(0)).link).toBe('up')
    })
  }
})

describe('what a beforeAll of a describe started', () => {
  let inner: Vm | undefined
  let shell: Program | undefined
  describe('with one', () => {
    base.beforeAll(async ({ dut, vm }) => {
      inner = await dut.start({ memory: '256M' })
      shell = await vm.spawn('bash --norc', { prompt: /[$#] / })
    }, 60_000)
    base.afterAll(async () => {
      await inner?.exec('true', { check: true })
    })
    for (const n of [1, 2]) {
      base(`is there for test ${n}`, T, async () => {
        await inner?.exec('true', { check: true })
        expect((await shell?.cmd('echo shell'))?.output).toContain('shell')
      })
    }
  })

  test('ends with it, before the next', ({ dut }) => {
    expect(inner?.state).toBe('stopped')
    expect(dut.vms).not.toContain(inner)
    expect(shell && lives(shell)).toBe(false)
  })
})

base('an API that was not extended has the same VMs', ({ vm, dut }) => {
  expect(pids).toEqual([vm.pid])
  expect(dut.vms.map(({ name }) => name).sort()).toEqual(['peer', 'vm0'])
})
