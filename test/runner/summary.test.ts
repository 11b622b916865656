import { expect, test } from 'vitest'
import { summaryTable } from '../../src/runner/summary.ts'

test('the table lines up its columns, with no blanks at the ends of lines', () => {
  const table = summaryTable([
    {
      suite: 'two.spec.ts',
      vms: [
        { dut: 'dut0', vm: 'vm0', bootMs: 900 },
        { dut: 'dut0', vm: 'the-switch', bootMs: 61_000 },
      ],
      notes: [{ test: 'pings', state: 'passed', text: '0.2 ms' }],
    },
    { suite: 'a.spec.ts', vms: [{ dut: 'rack7', vm: 'vm0', bootMs: 1234 }], notes: [] },
    { suite: 'none.spec.ts', vms: [], notes: [] },
  ])
  expect(table).toBe(
    [
      'two.spec.ts   2 VMs',
      '              dut0/vm0         ready after 900 ms',
      '              dut0/the-switch  ready after 1 m 01 s',
      '              passed pings     0.2 ms',
      'a.spec.ts     1 VM',
      '              rack7/vm0        ready after 1.2 s',
      'none.spec.ts  0 VMs',
    ].join('\n'),
  )
})

test('of no suite it is nothing', () => {
  expect(summaryTable([])).toBe('')
})
