import { describe, expect, test } from 'vitest'
import { MultipleVM } from '../../src/dts/index.ts'
import { readTask } from '../../src/dts/tasks.ts'
import { UsageError } from '../../src/errors.ts'
import type { Dut } from '../../src/fleet/dut.ts'

// Of a DUT, nothing but its place in the list is looked at before a task is done.
const duts = [{ name: 'a' }, { name: 'b' }] as unknown as Dut[]
const virt_params = { mem: [{ size: '256', hugepage: 'no' }] }

test('arguments are read as DTS spells them, and as TypeScript does', () => {
  const task = readTask(
    'start',
    { name: 'vm0', dut_id: 1, autodetect_topo: true, virt_params },
    duts,
  )
  const camel = { name: 'vm0', dutId: 1, autodetectTopo: true, virtParams: virt_params }
  expect(readTask('start', camel, duts)).toEqual(task)
  expect(task).toMatchObject({
    name: 'vm0',
    dutId: 1,
    args: { autodetect_topo: true, virt_params },
  })
})

test('dut_id is 0 where none is given, and None is absent', () => {
  const task = readTask('start', { name: 'vm0', virt_params, virt_config: null }, duts)
  expect(task.dutId).toBe(0)
  expect(task.args).not.toHaveProperty('virt_config')
})

const cmd = { name: 'vm0', commands: ['a', 'b'], expects: ['', ''], timeouts: [5, 5] }

describe('refused is', () => {
  test.each<[string, object, string]>([
    ['begin', { name: 'a' }, 'the action "begin" is unknown'],
    ['migratoin', { name: 'a' }, "did you mean 'migration'?"],
    ['start', { virt_params }, 'name is missing'],
    ['start', { name: 'a' }, 'give one of virt_config and virt_params'],
    ['start', { name: 'a', virt_params, virt_config: 'a.cfg' }, 'give one of'],
    ['start', { name: 'a', virt_params, dut_id: 2 }, '2 is not a whole number from 0 to 1'],
    ['start', { name: 'a', virt_parms: {} }, 'did you mean "virt_params"?'],
    ['start', { name: 'a', dut_id: 0, dutId: 1, virt_params }, 'dut_id is there twice'],
    ['cmd', { ...cmd, expects: [''] }, '2 commands, 1 expects and 2 timeouts'],
    ['cmd', { ...cmd, timeouts: [5] }, '2 commands, 2 expects and 1 timeouts'],
    ['cmd', { ...cmd, expects: undefined }, 'expects is not a list'],
    ['cmd', { ...cmd, commands: 'a' }, 'commands is not a list'],
    ['cmd', { ...cmd, timeouts: [5, '5s'] }, '"5s" is not a number of seconds'],
    ['cmd', { ...cmd, delay: 2 }, 'unknown option "delay"'],
    ['toString', { name: 'a' }, 'the action "toString" is unknown'],
    ['start', { name: 'a', virt_params, autodetect_topo: 'yes' }, 'neither true nor false'],
    ['cmd', { ...cmd, expects: ['', null] }, 'no text'],
    ['stop', { name: 'a', force: true }, 'unknown option "force"'],
  ])('%s %j', (action, config, message) => {
    const call = () => readTask(action as 'start', config, duts)
    expect(call).toThrow(UsageError)
    expect(call).toThrow(message)
  })
})

test('a VM has one task in a round', () => {
  const module = new MultipleVM({ max_vm: 2, duts })
  module.addParallelTask('stop', { name: 'vm0' })
  module.addParallelTask({ action: 'stop', config: { name: 'vm0', dut_id: 1 } })
  expect(() => module.addParallelTask('cmd', cmd)).toThrow('vm0 on DUT 0 has a task in this round')
})

test.each<[object, string]>([
  [{ maxVm: 0, duts }, '0 is not a whole number'],
  [{ maxVm: 2 }, 'duts is not a list of DUTs'],
  [{ maxVm: 2, duts: [] }, 'duts is not a list of DUTs'],
  [{ maxVms: 2, duts }, 'did you mean "maxVm"?'],
])('a module of %j cannot be', (options, message) => {
  expect(() => new MultipleVM(options as never)).toThrow(message)
})
