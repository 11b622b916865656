// The module "Multiple Virtual Machines" itself: VMs start and run commands in parallel, round by round.
import { dutTest, expect } from 'vitest-dut'
import { MultipleVM } from 'vitest-dut/dts'

const test = dutTest({ vms: 0 })
const VM_NUM = 4

test('parallel start and parallel commands of four VMs', async ({ duts, annotate }) => {
  await using vm_task = new MultipleVM({ max_vm: VM_NUM, duts })
  const names = Array.from({ length: VM_NUM }, (_, i) => `vm${i}`)
  const virt_params = { cpu: [{ number: '1' }], mem: [{ size: '256', hugepage: 'no' }] }
  for (const name of names) {
    vm_task.addParallelTask('start', { name, dut_id: 0, autodetect_topo: false, virt_params })
  }
  const [started] = await vm_task.doParallelTask()
  expect(Object.values(started ?? {}).map(({ status }) => status)).toEqual([0, 0, 0, 0])

  for (const name of names) {
    vm_task.addParallelTask('cmd', {
      ...{ name, commands: ['uname -r', 'hostname; echo $((6*7))'] },
      ...{ expects: ['', '42'], timeouts: [10, 10] },
    })
  }
  const [answers] = await vm_task.doParallelTask()
  for (const name of names) {
    expect(answers?.[name]?.outputs?.[0]).toMatch(/^\d+\.\d+/)
    expect(answers?.[name]?.outputs?.[1]).toBe(`${name}\n42`)
  }
  const slowest = Math.max(...Object.values(started ?? {}).map(({ durationMs }) => durationMs))
  await annotate(`${VM_NUM} VMs in ${(slowest / 1000).toFixed(1)} s`, 'start')

  for (const name of names) vm_task.addParallelTask('stop', { name })
  await vm_task.doParallelTask()
  expect(duts[0]?.vms).toEqual([])
})
