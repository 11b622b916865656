import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  CommandTimeoutError,
  Dut,
  dutTest,
  expect,
  GuestError,
  localHost,
  UsageError,
} from 'vitest-dut'
import { MultipleVM } from 'vitest-dut/dts'
import { debianDisk, ROOT } from '../support/disk.ts'

const test = dutTest({ vms: 0, bootTimeout: '5m' })
const VM_NUM = 2

/** A second DUT: this machine again, by another name. */
async function twoDuts(dut: Dut) {
  const dir = join(dut.dir, 'second')
  const other = new Dut({ name: 'dut1', host: localHost(), dir, bootTimeoutMs: 300_000 })
  return [dut, other] as const
}

test('the sample of the user guide, line by line', { timeout: 900_000 }, async ({ dut }) => {
  const { disk } = await debianDisk()
  const duts = await twoDuts(dut)
  await using _ = duts[1]
  await using vm_task = new MultipleVM({ max_vm: VM_NUM, duts })
  for (let dut_id = 0; dut_id < duts.length; dut_id++) {
    for (let vm_idx = 0; vm_idx < VM_NUM; vm_idx++) {
      const vm_name = `vm${vm_idx}`
      const args = {
        name: vm_name,
        dut_id: dut_id,
        autodetect_topo: false,
        virt_params: {
          qemu: [{ path: 'qemu-system-x86_64' }],
          cpu: [{ model: 'max', number: '1', cpupin: '' }],
          mem: [{ size: '512', hugepage: 'no' }],
          disk: [{ file: disk }],
          login: [{ user: ROOT.user, password: ROOT.password }],
          device: null,
        },
      }
      vm_task.addParallelTask('start', args)
    }
  }
  await vm_task.doParallelTask()
  const started = vm_task.getParallelResult()
  expect(started.map((vms) => Object.keys(vms))).toEqual([
    ['vm0', 'vm1'],
    ['vm0', 'vm1'],
  ])
  for (const [dut_id, vms] of started.entries()) {
    for (const [name, result] of Object.entries(vms)) {
      expect(result).toMatchObject({ name, dut_id, action: 'start', status: 0, attached: false })
      expect(result.vm_obj?.dut).toBe(duts[dut_id])
      expect(result.vm_dut?.state).toBe('running')
    }
  }

  for (const dut_id of [0, 1]) {
    for (const name of ['vm0', 'vm1']) {
      vm_task.addParallelTask('cmd', {
        ...{ name, dut_id, commands: ['hostname', 'echo $((6*7))'], expects: ['', '42'] },
        timeouts: [30, 30],
      })
    }
  }
  const answers = await vm_task.doParallelTask()
  expect(answers.map((vms) => Object.values(vms).map(({ outputs }) => outputs))).toEqual([
    [
      ['vm0\n', '42'],
      ['vm1\n', '42'],
    ],
    [
      ['vm0\n', '42'],
      ['vm1\n', '42'],
    ],
  ])
})

const small = { mem: [{ size: '192', hugepage: 'no' }] }

test('one that is too late says so, and the others are right', async ({ dut }) => {
  await using module = new MultipleVM({ maxVm: 2, duts: [dut] })
  const names = ['late', 'right']
  for (const name of names) module.addParallelTask('start', { name, virt_params: small })
  await module.doParallelTask()
  module.addParallelTask('cmd', {
    ...{ name: 'late', commands: ['echo first', 'echo half; sleep 60', 'echo never'] },
    ...{ expects: ['', 'whole', ''], timeouts: [30, 1, 30] },
  })
  // A blank expect is the shell's return, whatever is printed on the way.
  module.addParallelTask('cmd', {
    ...{
      name: 'right',
      commands: ['echo one; read -t 0.3 _; echo two', 'printf x', 'echo ready: set'],
    },
    ...{ expects: ['', '', /ready: \w+/], timeouts: [30, 30, 30] },
  })
  const [results] = await module.doParallelTask()
  expect(results?.late).toMatchObject({ status: 7, outputs: ['first\n'] })
  const error = results?.late?.error as CommandTimeoutError
  expect(error).toBeInstanceOf(CommandTimeoutError)
  expect(error.tail).toContain('half')
  expect(error.elapsedMs).toBeLessThan(10_000)
  expect(error.message).toContain('dut0/late')
  expect(dut.vms.map(({ name }) => name).sort()).toEqual(names)
  expect(results?.right).toMatchObject({ status: 0, outputs: ['one\ntwo\n', 'x', 'ready: set'] })
})

test('one that cannot start leaves the others alone; a round has its own results only', async ({
  dut,
}) => {
  await using module = new MultipleVM({ maxVm: 2, duts: [dut] })
  const broken = { ...small, usercmd: [{ cmd: '-device no-such-device' }] }
  module.addParallelTask('start', { name: 'vm0', virt_params: broken })
  module.addParallelTask('start', { name: 'vm1', virt_params: small })
  const [first] = await module.doParallelTask()
  expect(first?.vm0).toMatchObject({ status: 7 })
  expect(first?.vm0?.error?.message).toContain('no-such-device')
  expect(first?.vm1).toMatchObject({ status: 0 })

  // To start what runs is to attach to it.
  module.addParallelTask('start', { name: 'vm1', virt_params: small, autodetect_topo: true })
  module.addParallelTask('stop', { name: 'vm0' })
  const [second] = await module.doParallelTask()
  expect(second?.vm1).toMatchObject({ status: 0, attached: true, ports: [] })
  expect(second?.vm1?.vm).toBe(first?.vm1?.vm)
  expect(second?.vm0?.error).toBeInstanceOf(UsageError)
  expect(second?.vm0?.error?.message).toContain('it has: vm1')

  module.addParallelTask('stop', { name: 'vm1' })
  await module.doParallelTask()
  expect(Object.keys(module.getParallelResult()[0] ?? {})).toEqual(['vm1'])
  expect(first?.vm1?.vm?.state).toBe('stopped')
  expect(dut.vms).toEqual([])
  expect(readdirSync(dut.dir)).toEqual([])
  expect(await module.doParallelTask()).toEqual([{}])
})

test('one that is too slow to start is told by name, and nothing of it is left', async ({
  dut,
}) => {
  await using module = new MultipleVM({ duts: [dut] })
  const slow = { ...small, usercmd: [{ cmd: '-S' }], start: [{ wait_seconds: '2' }] }
  module.addParallelTask('start', { name: 'vm0', virt_params: slow })
  const [results] = await module.doParallelTask()
  expect(results?.vm0?.error).toBeInstanceOf(GuestError)
  expect(results?.vm0?.error?.message).toMatch(/dut0\/vm0: .*did not start in time.*wait_seconds/s)
  expect(dut.vms).toEqual([])
})

test('a configuration file, and a migration', async ({ dut }) => {
  await using module = new MultipleVM({ maxVm: 1, duts: [dut] })
  const file = join(import.meta.dirname, '../../fixtures/dts/small.cfg')
  module.addParallelTask('start', { name: 'vm0', virtConfig: file })
  const [started] = await module.doParallelTask()
  expect(started?.vm0?.error).toBeUndefined()
  expect(started?.vm0?.notes?.join()).toContain('daemon')
  const { vm } = started?.vm0 ?? {}
  await vm?.restart() // a clone does not move
  const before = vm?.pid
  module.addParallelTask('migration', { name: 'vm0', remote_ip: '127.0.0.1', migrate_port: 8000 })
  const [moved] = await module.doParallelTask()
  expect(moved?.vm0?.error).toBeUndefined()
  expect(moved?.vm0?.migration?.bytes).toBeGreaterThan(0)
  expect(vm?.pid).not.toBe(before)
  expect((await vm?.cmd('echo here'))?.output).toBe('here\n')
})
