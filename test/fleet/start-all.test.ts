import { describe, expect, test } from 'vitest'
import { GuestError } from '../../src/errors.ts'
import { concurrencyIn } from '../../src/fleet/concurrency.ts'
import type { Progress } from '../../src/fleet/progress.ts'
import { startAll } from '../../src/fleet/start-all.ts'
import { resolveSpec } from '../../src/vm/spec/spec.ts'
import type { Vm } from '../../src/vm/vm.ts'
import { waitFor } from '../../src/wait.ts'
import { withScope } from '../support/with-scope.ts'

const never = new Promise<never>(() => {})
const specs = (count: number) => Array.from({ length: count }, (_, i) => resolveSpec({}, i))

/** VMs that start as told, and what became of them. */
function vms() {
  const stopped: string[] = []
  const make = (name: string) =>
    ({
      name,
      stop: async () => void stopped.push(name),
    }) as unknown as Vm
  return { stopped, make }
}

describe('VMs that start together', () => {
  test('are given in order, whichever was ready first', async () => {
    const { make } = vms()
    const gates = [0, 1, 2].map(() => Promise.withResolvers<void>())
    const starting = startAll(specs(3), {
      dut: 'dut0',
      concurrency: 3,
      start: async ({ name }, i) => {
        await gates[i]?.promise
        return make(name)
      },
    })
    for (const gate of gates.reverse()) gate.resolve()
    expect((await starting).map((vm) => vm.name)).toEqual(['vm0', 'vm1', 'vm2'])
  })

  test('are no more at once than wanted', async () => {
    const { make } = vms()
    let now = 0
    let most = 0
    await startAll(specs(9), {
      dut: 'dut0',
      concurrency: 3,
      start: async ({ name }) => {
        most = Math.max(most, ++now)
        await new Promise(setImmediate)
        now -= 1
        return make(name)
      },
    })
    expect(most).toBe(3)
  })

  test('are at least one at once, however much memory one wants; none is none', async () => {
    const { make } = vms()
    const start = async ({ name }: { name: string }) => make(name)
    const huge = [resolveSpec({ memory: '900T' }, 0)]
    expect(await startAll(huge, { dut: 'dut0', start })).toHaveLength(1)
    expect(await startAll([], { dut: 'dut0', start })).toEqual([])
  })

  test('tell how far they are', async () => {
    const { make } = vms()
    const heard: Progress[] = []
    await startAll(specs(2), {
      dut: 'dut0',
      concurrency: 1,
      onProgress: (progress) => heard.push(progress),
      start: async ({ name }, _, { onStage }) => {
        onStage('kernel')
        onStage('ready')
        return make(name)
      },
    })
    expect(heard.map((p) => p.kind === 'vm' && `${p.dut} ${p.vm} ${p.stage} of ${p.of}`)).toEqual([
      'dut0 vm0 kernel of 2',
      'dut0 vm0 ready of 2',
      'dut0 vm1 kernel of 2',
      'dut0 vm1 ready of 2',
    ])
  })
})

describe('where one fails', () => {
  const boom = () => new GuestError('no prompt', { vm: 'vm1', dut: 'dut0' })

  test('those that run are stopped, those that start are told, the rest are not begun', async () => {
    const { stopped, make } = vms()
    const begun: string[] = []
    const aborted: string[] = []
    const heard: string[] = []
    const starting = startAll(specs(6), {
      dut: 'dut0',
      concurrency: 3,
      onProgress: (p) => p.kind === 'vm' && heard.push(`${p.vm} ${p.stage}`),
      start: async ({ name }, i, { signal }) => {
        begun.push(name)
        if (i === 0) return make(name)
        if (i === 1) {
          await new Promise(setImmediate)
          throw boom()
        }
        return waitFor(never, { signal }).catch((error) => {
          aborted.push(name)
          throw error
        })
      },
    })
    const error = await starting.catch((error) => error)
    expect(error).toBeInstanceOf(GuestError)
    expect(error.message).toContain('dut0/vm1: no prompt')
    expect(error.message).toContain('(all or nothing: the other 5 VMs were stopped)')
    expect(begun).toEqual(['vm0', 'vm1', 'vm2', 'vm3'])
    expect(aborted.sort()).toEqual(['vm2', 'vm3'])
    expect(stopped).toEqual(['vm0'])
    expect(heard).toContain('vm1 failed')
    expect(heard).not.toContain('vm0 failed')
  })

  test('the error is the first one, although stopping the others fails too', async () => {
    const vm = { name: 'vm0', stop: () => Promise.reject(new Error('will not stop')) }
    const starting = startAll(specs(2), {
      dut: 'dut0',
      start: async (_, i) => {
        if (i === 0) return vm as unknown as Vm
        throw boom()
      },
    })
    await expect(starting).rejects.toThrow(/no prompt[\s\S]*the other VM was stopped/)
  })

  test('alone, nothing is said of others; an error of another kind is left as it is', async () => {
    const fail = (error: Error, count: number) =>
      startAll(specs(count), { dut: 'dut0', start: () => Promise.reject(error) }).catch((e) => e)
    expect((await fail(boom(), 1)).message).toBe('dut0/vm1: no prompt')
    const odd = new TypeError('a bug')
    expect(await fail(odd, 3)).toBe(odd)
    expect(odd.message).toBe('a bug')
  })
})

test.each(['its signal', 'its test'])('%s stops the start, and nothing is left', async (who) => {
  const { stopped, make } = vms()
  const stop = new AbortController()
  const start = () =>
    startAll(specs(4), {
      dut: 'dut0',
      concurrency: 2,
      signal: who === 'its signal' ? stop.signal : undefined,
      start: async ({ name }, i, { signal }) => {
        if (i === 0) return make(name)
        stop.abort(new Error('cancelled'))
        return waitFor(never, { signal })
      },
    })
  const starting = who === 'its signal' ? start() : withScope(stop.signal, start)
  await expect(starting).rejects.toThrow('cancelled')
  expect(stopped).toEqual(['vm0'])
})

test.each([
  [{ cores: 2, memory: 8 * 2 ** 30 }, '512M', 8],
  [{ cores: 1, memory: 8 * 2 ** 30 }, '512M', 4],
  [{ cores: 64, memory: 2 ** 30 }, '512M', 2],
  [{ cores: 2, memory: 2 ** 28 }, '512M', 1],
])('with %j VMs of %s start at once: %i', (room, size, wanted) => {
  const vms = Array.from({ length: 40 }, (_, i) => resolveSpec({ memory: size }, i))
  expect(concurrencyIn(room, vms)).toBe(wanted)
})
