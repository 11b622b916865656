import { expectTypeOf, test } from 'vitest'
import type { Dut, Program, Vm } from '../../src/index.ts'
import { dutTest } from '../../src/runner/dut-test.ts'

// Only their types are looked at: without the plugin nothing could run.
const plain = () => dutTest({ vms: 2, backend: () => 'switch' as const })
const extended = () =>
  plain()
    .extend('port', { scope: 'file' }, ({ dut, vms: [, b] }) => ({ dut, b }))
    .extend('program', { scope: 'file' }, ({ port }) => port.dut.spawn(port.b.name))
    .extend('count', ({ program, vms }) => [program, vms.length] as const)
    .extend<{ $file: { word: string }; $test: { size: number } }>({
      word: [({ backend }, use) => use(backend), { scope: 'file' }],
      size: async ({ count }, use) => use(count[1]),
    })

test('an API that is extended keeps the types of its fixtures, in tests and hooks', () => {
  type Context = Parameters<Parameters<ReturnType<typeof extended>['beforeEach']>[0]>[0]
  expectTypeOf<Context>().toHaveProperty('vm').toEqualTypeOf<Vm>()
  expectTypeOf<Context>().toHaveProperty('dut').toEqualTypeOf<Dut>()
  expectTypeOf<Context['vms'][1]>().toEqualTypeOf<Vm>()
  expectTypeOf<Context>().toHaveProperty('backend').toEqualTypeOf<'switch'>()
  expectTypeOf<Context>().toHaveProperty('program').toEqualTypeOf<Program>()
  expectTypeOf<Context>().toHaveProperty('count').toEqualTypeOf<readonly [Program, number]>()
  expectTypeOf<Context['word']>().toEqualTypeOf<string>()
  expectTypeOf<Context['size']>().toEqualTypeOf<number>()
})

test('hooks of a suite know the fixtures of the file, and those only', () => {
  const api = () =>
    plain()
      .extend('port', { scope: 'file' }, () => 7)
      .extend('own', () => 'x')
  type Context = Parameters<Parameters<ReturnType<typeof api>['beforeAll']>[0]>[0]
  expectTypeOf<Context>().toHaveProperty('vm').toEqualTypeOf<Vm>()
  expectTypeOf<Context>().toHaveProperty('port').toEqualTypeOf<number>()
  expectTypeOf<Context>().not.toHaveProperty('own')
})
