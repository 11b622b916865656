import { expect, test } from 'vitest'
import { link } from '../../../src/qemu/devices.ts'
import { checkPluggable } from '../../../src/vm/hotplug/checks.ts'
import { resolveSpec } from '../../../src/vm/spec/spec.ts'

test('a machine without ports takes no device while it runs', () => {
  const plugInto = (machine: string) => checkPluggable(resolveSpec({ machine }, 0), link('lan'))
  expect(() => plugInto('microvm')).toThrow('vm0: a machine of type microvm has no ports')
  for (const machine of ['q35', 'pc', 'virt']) plugInto(machine)
})
