import { expect, test } from 'vitest'
import { HEAD, makeProject, type Project } from '../support/project.ts'

async function run(project: Project, ...args: string[]) {
  const result = await project.vitest(...args).ended
  expect(project.processes()).toEqual([])
  expect(project.runFolders()).toEqual([])
  return result
}

test('fixtures, hooks and tests of a suite share its VMs, on each DUT by name', async () => {
  const project = makeProject(
    {
      'a.spec.ts': `${HEAD}
const test = dutTest({
  vms: (dut) => (dut.name === 'left' ? 2 : 1),
  vm: ({ dut, index, backend }) => ({ name: dut.name + index, memory: '256M' }),
  backend: async (dut, { onCleanup }) => { onCleanup(() => mark('cleaned-' + dut.name, 'x')); return dut.name.length },
})
test.beforeAll(async ({ vms }) => { for (const vm of vms) await vm.cmd('x=' + vm.name) })
test('one', async ({ duts, dut, vms, vm, backend, backends }) => {
  expect(duts.map((d) => d.name)).toEqual(['left', 'right'])
  expect(dut.name).toBe('left')
  expect(vms.map((v) => v.name)).toEqual(['left0', 'left1', 'right0'])
  expect(vm).toBe(vms[0])
  expect([backend, backends]).toEqual([4, [4, 5]])
  expect((await vms[2].cmd('echo $x')).output).toBe('right0\\n')
})
test.describe('a describe', () => {
  test.concurrent('two', async ({ vms }) => { expect((await vms[1].exec('hostname')).stdout).toBe('left1\\n') })
  test.concurrent('three', async ({ vms }) => { expect((await vms[0].exec('hostname')).stdout).toBe('left0\\n') })
})
test('a VM started in a test is gone after it', async ({ dut }) => {
  const more = await dut.start({ memory: '256M' })
  expect(dut.vms).toHaveLength(3)
  mark('pid', String(more.pid))
})
test('see', async ({ dut }) => { expect(dut.vms).toHaveLength(2) })
`,
    },
    { plugin: `dut({ duts: [{ name: 'left' }, { name: 'right' }] })` },
  )
  const { output, status } = await run(project)
  expect(output).toMatch(/5 passed/)
  expect(status).toBe(0)
  await project.mark('cleaned-left')
  await project.mark('cleaned-right')
  expect(output).toMatch(/a\.spec\.ts {2}left {2}2\/2 ready {2}left\d: ready \d/)
})

test('a throwing afterAll still tears down', async () => {
  const project = makeProject({
    'a.spec.ts': `${HEAD}
const test = dutTest()
test('fine', async ({ vm }) => { await vm.exec('true', { check: true }) })
test.afterAll(() => { throw new Error('afterAll broke') })
`,
  })
  const { output, status } = await run(project)
  expect(status).toBe(1)
  expect(output).toContain('afterAll broke')
})

test('a hook or a test that times out stops its command and tears down', async () => {
  const project = makeProject({
    'a.spec.ts': `${HEAD}
const test = dutTest()
test('too slow', { timeout: 500 }, async ({ vm }) => { await vm.cmd('sleep 1000', '', '10m').catch((error) => mark('stopped', String(error))) })
test('next', async ({ vm }) => { expect((await vm.cmd('echo free')).output).toBe('free\\n') })
test.describe('hook', () => {
  test.beforeAll(async ({ vm }) => { await vm.cmd('sleep 1000', '', '10m') }, 500)
  test('never', () => {})
})
`,
  })
  const { output, status } = await run(project)
  expect(status).toBe(1)
  expect(output).toMatch(/Test timed out in 500ms/)
  expect(output).toMatch(/Hook timed out in 500ms/)
  expect(output).toMatch(/1 failed \| 1 passed/)
  expect(await project.mark('stopped')).toMatch(/Error/)
})

test('--bail while another suite boots tears both down', async () => {
  const project = makeProject({
    'a.spec.ts': `${HEAD}
const test = dutTest({ vms: 0 })
test('fails once the other boots', async () => {
  const { existsSync } = await import('node:fs')
  await expect.poll(() => existsSync('booting'), { timeout: 50_000 }).toBe(true)
  throw new Error('bail now')
})
`,
    'b.spec.ts': `${HEAD}
const test = dutTest({ vms: 1, backend: () => mark('booting', 'x') })
test('not run', async ({ vm }) => { await vm.cmd('true') })
`,
  })
  const { output, status } = await run(project, '--bail=1', '--maxWorkers=2')
  expect(status).toBe(1)
  expect(output).toContain('bail now')
})

test('a set-up that fails says why, skips the tests and leaves nothing', async () => {
  const project = makeProject({
    'a.spec.ts': `${HEAD}
import { raw } from 'vitest-dut'
const test = dutTest({ vms: 3, vm: ({ index }) => index === 1 ? { devices: [raw('-device', 'nonsense')] } : {} })
test('never', () => { mark('ran', 'x') })
`,
    'b.spec.ts': `${HEAD}
const test = dutTest({ vms: 1, backend: () => { throw new Error('no backend today') } })
test('never', () => { mark('ran', 'x') })
`,
    'c.spec.ts': `${HEAD}
const test = dutTest({ vms: 2, bootTimeout: '3s', vm: { boot: 'cold', extraArgs: ['-S'] } })
test('never', () => { mark('ran', 'x') })
`,
  })
  const { output, status } = await run(project)
  expect(status).toBe(1)
  expect(output).toMatch(/dut0\/vm1: .*'nonsense' is not a valid device model name/)
  expect(output).toContain('no backend today')
  expect(output).toMatch(/the guest did not come up/)
  const { readdirSync } = await import('node:fs')
  expect(readdirSync(project.dir)).not.toContain('ran')
})

test('bad options are told in one sentence', async () => {
  const project = makeProject({
    'a.spec.ts': `${HEAD}
dutTest({ vm: {}, bootTimout: '5s' } as never)
`,
    'b.spec.ts': `${HEAD}
const test = dutTest({ duts: ['rack7'], vms: 0 })
test('never', ({ dut }) => {})
`,
    'c.spec.ts': `${HEAD}
const test = dutTest({ vms: 2, vm: { name: 'same' } })
test('never', ({ dut }) => {})
`,
  })
  const { output, status } = await run(project)
  expect(status).toBe(1)
  expect(output).toMatch(/unknown option "bootTimout"[\s\S]*did you mean "bootTimeout"\?/)
  expect(output).toMatch(/no DUT named "rack7"[\s\S]*the configuration has: dut0/)
  expect(output).toMatch(/2 VMs cannot all be named "same"/)
})

test('without the plugin the error says how to add it', async () => {
  const project = makeProject(
    { 'a.spec.ts': `${HEAD}\nconst test = dutTest()\ntest('never', () => {})\n` },
    { plugin: '' },
  )
  const { output, status } = await project.vitest().ended
  expect(status).toBe(1)
  expect(output).toMatch(/the plugin is not in the Vitest configuration[\s\S]*plugins: \[dut\(\)\]/)
})
