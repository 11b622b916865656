import { test as plain } from 'vitest'
import { dutTest, expect } from 'vitest-dut'
import { makeProject } from '../support/project.ts'

const test = dutTest({ vms: 2, reset: 'each' })

test.beforeAll(async ({ vms }) => {
  await Promise.all(vms.map((vm) => vm.cmd(['made=beforeAll', 'echo beforeAll >/tmp/file'])))
})

const STATE = 'echo "$made $(cat /tmp/file) $(ls /tmp | wc -l) ${left:-nothing}"'
const CLEAN = 'beforeAll beforeAll 1 nothing\n'

test.for(['first', 'second', 'third'])(
  'the %s test finds what beforeAll made',
  async (_, { vms }) => {
    for (const vm of vms) {
      expect((await vm.cmd(STATE)).output).toBe(CLEAN)
      await vm.cmd(['left=something', 'rm /tmp/file', 'touch /tmp/{a,b,c}'])
    }
  },
)

test('the console is free after one that leaves it taken', { fails: true }, async ({ vm }) => {
  await vm.cmd('trap "" INT QUIT; sleep 1000', 'never', '100ms')
})

test('and is clean then', async ({ vm }) => {
  expect((await vm.cmd(STATE)).output).toBe(CLEAN)
})

plain('tests that run at once cannot have it', async () => {
  const project = makeProject({
    'a.spec.ts': `
import { dutTest, expect } from 'vitest-dut'
const test = dutTest({ reset: 'each' })
test.concurrent('a', async ({ vm }) => { await vm.cmd('sleep 2') })
test.concurrent('b', async ({ vm }) => { await vm.cmd('sleep 2') })
`,
  })
  const { output, status } = await project.vitest().ended
  expect(status).toBe(1)
  expect(output).toMatch(/reset: 'each' gives the VMs to one test at a time/)
  expect(output).toContain('leave out test.concurrent')
})
