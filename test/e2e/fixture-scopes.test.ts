// The scopes that Vitest has: who owns what is started, and what ends with what.
import { expect, test } from 'vitest'
import { HEAD, makeProject, type Project } from '../support/project.ts'

async function run(project: Project, ...args: string[]) {
  const result = await project.vitest(...args).ended
  expect(project.processes()).toEqual([])
  expect(project.runFolders()).toEqual([])
  return result
}

const SPEC = `${HEAD}
import { afterAll, afterEach, describe, test as plain } from 'vitest'
const test = dutTest({ vms: 0 })
`

const SCOPES = `${SPEC}
const alive = (p) => !p.console.life.ended.aborted
const log: string[] = []
let shared, inDescribe, inNested, ofTest, late
const P = (dut) => dut.spawn('cat')
const ext = test.extend('f', { scope: 'file' }, ({ dut }, { onCleanup }) => { onCleanup(() => { log.push('f cleaned ' ) }); return P(dut) })
const ext2 = ext.extend<{ $file: { g: any }, $test: { t: any } }>({ g: [async ({ dut, f }, use) => { await use(await P(dut)) }, { scope: 'file' }], t: async ({ dut, g }, use) => { const p = await P(dut); await use(p); log.push('t alive at clean-up: ' + alive(p)) } })
const ext3 = ext2.override('f', async ({ dut }) => P(dut))
let outer
test.beforeAll(async ({ dut }) => { shared = await P(dut) })
for (const n of [1, 2]) ext2('file fixtures ' + n, async ({ f, g, t }) => { expect([alive(f), alive(g), alive(t)]).toEqual([true, true, true]) ; outer = [f, g, t] })
test('after', () => { expect(outer.map(alive)).toEqual([true, true, false]); expect(alive(shared)).toBe(true); expect(log).toEqual(['t alive at clean-up: true', 't alive at clean-up: true']) })
describe('d', () => {
  test.beforeAll(async ({ dut }) => { inDescribe = await P(dut); return async () => { log.push('clean-up of beforeAll: ' + alive(inDescribe)); await dut.exec('true') } })
  afterAll(() => { log.push('afterAll: ' + alive(inDescribe)) })
  test('a', () => { expect(alive(inDescribe)).toBe(true) })
  test.describe('nested', () => {
    test.aroundAll(async (run, { dut }) => { inNested = await P(dut); await run(); log.push('aroundAll after: ' + alive(inNested)) })
    test('b', async ({ dut }) => { expect(alive(inDescribe)).toBe(true); expect(alive(inNested)).toBe(true); ofTest = await P(dut) })
    test('c', () => { expect(alive(ofTest)).toBe(false) })
  })
  test('d', () => { expect(alive(inDescribe)).toBe(true); expect(alive(inNested)).toBe(false) })
})
test('e', () => { expect([shared, inDescribe, inNested].map(alive)).toEqual([true, false, false]); expect(log.slice(2)).toEqual(['aroundAll after: true', 'afterAll: true', 'clean-up of beforeAll: true']) })
describe.concurrent('x', () => {
  let p, q
  test.beforeAll(async ({ dut }) => { p = await P(dut) })
  test.beforeEach(async ({ dut }) => { })
  test.for([1, 2, 3])('x%i', async (n, { dut }) => { expect(alive(p)).toBe(true); const q = await P(dut); await dut.exec('sleep 0.1'); expect(alive(q)).toBe(true) })
})
describe.concurrent('y', () => {
  let p
  test.beforeAll(async ({ dut }) => { p = await P(dut) })
  test.each([[1, 2], [3, 4]])('y%i', async (a, b) => { expect(b).toBe(a + 1); expect(alive(p)).toBe(true) })
  test.concurrent('y3', async ({ dut }) => { expect(alive(p)).toBe(true) ; await dut.exec('sleep 0.3') })
})
test.describe('around', () => {
  let mine
  ext2.aroundEach(async (run, { t }) => { mine = t; await run(); log.push('around ' + alive(t)) })
  let before
  ext2('g', ({ t }) => { expect(t).toBe(mine); before = t })
  ext2('h', ({ t }) => { expect(alive(before)).toBe(false); expect(log.slice(-2)).toEqual(['around true', 't alive at clean-up: true']) })
})
plain('plain', async () => { await shared.close() })
test.runIf(true)('ri', ({ dut }) => { expect(dut.name).toBe('dut0') })
test.skipIf(true)('si', () => { throw 1 })
test.fails('f', () => { throw 1 })
`

test.each([[[]], [['--maxConcurrency=1']], [['--sequence.hooks=parallel']]])(
  'programs live as long as their test, describe or file: %s',
  async (args) => {
    const { output, status } = await run(makeProject({ 'a.spec.ts': SCOPES }), ...args)
    expect(output).toMatch(/18 passed \| 1 expected fail \| 1 skipped/)
    expect(status, output).toBe(0)
  },
)

test('a call that is too slow is stopped, and nothing else', async () => {
  const { output } = await run(
    makeProject({
      'a.spec.ts': `${SPEC}
const log: string[] = []
const slow = (dut) => dut.exec('sleep 100')
describe('zombie', () => {
  test.afterEach(async ({ dut }) => { log.push('after ' + (await dut.exec('echo 1')).stdout.trim()); await dut.exec('sleep 0.2') })
  test.fails('catches and goes on', { timeout: 300 }, async ({ dut }) => {
    try { await slow(dut) } catch (e) { log.push('stopped ' + e.message.split('\\n')[0]) }
    try { await dut.exec('echo again'); log.push('WRONG') } catch (e) { log.push('refused ' + e.message.split('\\n')[0]) }
    try { await dut.spawn('cat'); log.push('WRONG2') } catch (e) { log.push('refused2 ') }
    try { await dut.lease('name', 'x' + process.pid); log.push('WRONG3') } catch (e) { log.push('refused3 ') }
  })
  test('see', () => { expect(log).toEqual(expect.arrayContaining(['after 1', 'stopped Test timed out in 300ms.', 'refused Test timed out in 300ms.', 'refused2 ', 'refused3 '])); expect(log.join()).not.toContain('WRONG') })
})
let tries = 0
const seen: number[] = []
test('retried', { timeout: 300, retry: 2 }, async ({ dut }) => {
  tries++
  const { stdout } = await dut.exec(\`echo \${tries}\`); seen.push(Number(stdout))
  if (tries < 3) await slow(dut)
})
test('see retried', () => { expect(seen).toEqual([1, 2, 3]) })
test('repeats', { repeats: 2 }, async ({ dut }) => { await dut.exec('true', { check: true }); await dut.spawn('cat') })
describe('hooks', () => {
  let n = 0
  describe('beforeAll', () => {
    let ended = false
    test.beforeAll(async ({ dut }) => { await slow(dut).finally(() => { ended = true }) }, 200)
    test.afterAll(async ({ dut }) => { const a = (await dut.exec('sleep 0.1; echo 1')).stdout.trim(); log.push('ended ' + ended, 'afterAll ' + a) })
    test('never', () => {})
  })
  test('see', () => { expect(log.slice(-2)).toEqual(['ended true', 'afterAll 1']) })
  describe('afterEach after a time-out', () => {
    let ended = false
    test.beforeEach(({ dut }) => async () => { await dut.exec('sleep 0.1');  })
    test.beforeEach(({ onTestFinished, dut }) => { onTestFinished(async () => { await dut.exec('sleep 0.1'); log.push('first registered, second run: ' + ended) }) })
    test.afterEach(async ({ dut }) => { await slow(dut).catch((e) => { ended = true; throw e }) }, 200)
    test.fails('slow', { timeout: 200 }, async ({ dut }) => { await slow(dut) })
  })
  test('see2', () => { expect(log.at(-1)).toBe('first registered, second run: true') })
})
test.describe('a fixture that is too slow', () => {
  const t = test.extend('x', async ({ dut }) => { await slow(dut).catch((e) => {}) ; return 1 })
  t.fails('x', { timeout: 200 }, async ({ x, dut }) => { log.push('body'); try { await dut.exec('true'); log.push('WRONG') } catch { log.push('right') } })
  test('see', async ({ dut }) => { await dut.exec('sleep 0.2'); expect(log.slice(-2)).toEqual(['body', 'right']) })
})
test('waits left at the end', async ({ dut }) => { globalThis.left = slow(dut).catch((e) => e.message) })
test('see left', async () => { expect(await globalThis.left).toBe('the test is over') })
const late = test.extend('fx', { scope: 'file' }, async ({ dut }) => { await dut.exec('sleep 1'); return dut.spawn('cat') })
late.fails('file fixture: first is too slow', { timeout: 300 }, ({ fx }) => {})
late('the second has it', async ({ fx }) => { fx.console.write('x\\n'); await fx.expect('x', '5s') })
late('the third too', async ({ fx }) => { fx.console.write('y\\n'); await fx.expect('y', '5s') })

`,
    }),
  )
  expect(output).toMatch(/11 passed \| 4 expected fail \| 1 skipped/)
  expect(output.match(/Hook timed out in 200ms/g)).toHaveLength(1) // that of beforeAll, which is wanted
})

const SHARED = {
  'fixtures.ts': `
import { appendFileSync } from 'node:fs'
import { dutTest } from 'vitest-dut'
const started = (name: string) => ({ vms: 0, backend: () => appendFileSync('started', name + ' ') })
export const used = dutTest(started('used')).extend('program', { scope: 'file' }, ({ dut }) => dut.spawn('cat'))
export const unused = dutTest(started('unused'))
`,
  ...Object.fromEntries(
    ['a', 'b'].map((name) => [
      `${name}.spec.ts`,
      `${HEAD}
import { unused, used as test } from './fixtures.ts'
const seen = []
test.beforeAll(({ dut }) => void seen.push(dut))
test('one', async ({ dut, program }) => {
  program.console.write('typed\\n')
  await program.expect('typed', '10s')
  seen.push(dut, program)
})
let inner
test.describe('two', () => {
  test.beforeAll(async ({ dut }) => { inner = await dut.spawn('cat') })
  test('has it', ({ program }) => { expect(seen[2]).toBe(program); expect(inner.console.life.ended.aborted).toBe(false) })
})
test('three', () => {
  expect(seen[0]).toBe(seen[1])
  expect(inner.console.life.ended.aborted).toBe(true)
})
`,
    ]),
  ),
}

test.each([
  [[]],
  [['--no-isolate', '--maxWorkers=1']],
  [['--pool=threads', '--no-isolate', '--maxWorkers=1']],
  [['--pool=vmForks', '--maxWorkers=1']],
])('an API of several files has one fleet in each that uses it: %s', async (args) => {
  const project = makeProject(SHARED)
  const { output, status } = await run(project, ...args)
  expect(output).toMatch(/6 passed/)
  expect(status, output).toBe(0)
  expect(await project.mark('started')).toBe('used used ')
})

test('two calls of dutTest in a file have a fleet each, and a test is found by its line', async () => {
  const project = makeProject({
    'a.spec.ts': `${HEAD}
const one = dutTest({ vms: 0 })
const two = dutTest({ vms: 0 }).extend('x', () => 1).extend('y', { scope: 'file' }, () => 2)
let dut
one('first', (context) => {})
one('second', ({ dut: mine }) => { dut = mine })
two('third', ({ dut: mine, x, y }) => { expect([mine === dut, x, y]).toEqual([false, 1, 2]) })
`.replace("one('first', (context) => {})\n", ''),
  })
  const whole = await run(project)
  expect(whole.output).toMatch(/2 passed/)
  const line = 10
  const alone = await project.vitest(`a.spec.ts:${line}`).ended
  expect(alone.output).toMatch(/1 passed \| 1 skipped/)
})

test('the stack of a failed test shows the test, not what is around it', async () => {
  const project = makeProject({
    'a.spec.ts': `${HEAD}
const test = dutTest({ vms: 0 })
test('fails', () => { expect(1).toBe(2) })
`,
  })
  const { output } = await run(project)
  expect(output).toMatch(/a\.spec\.ts:8:/)
  expect(output).not.toMatch(/runner\/|scope\.ts/)
})
